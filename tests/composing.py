"""Settings as the front door composes them, from groups that are read once for all tests of a process."""

from functools import cache

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tinv.config.compose import Groups
from tinv.config.validate import check
from tinv.training.main import register


@cache
def groups() -> Groups:
    """The groups that ship."""
    register()
    return Groups()


def composed(*overrides: str, output_dir: str = "outputs") -> DictConfig:
    """Checked settings, with nothing left behind in Hydra."""
    try:
        return check(groups().compose(overrides, output_dir=output_dir))
    finally:
        HydraConfig.instance().cfg = None
