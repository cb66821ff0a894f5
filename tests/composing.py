"""Settings composed as train.py composes them, from groups that are read once for each process."""

from functools import cache

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tinv.config.compose import Groups
from tinv.config.validate import check
from tinv.training.main import register


@cache
def groups() -> Groups:
    """Returns the groups of tinv."""
    register()
    return Groups()


def composed(*overrides: str, output_dir: str = "outputs") -> DictConfig:
    """Returns checked settings, and resets Hydra's global config."""
    try:
        return check(groups().compose(overrides, output_dir=output_dir))
    finally:
        HydraConfig.instance().cfg = None
