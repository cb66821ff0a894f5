"""What is measured after a run's end, told to the run of W&B that it was."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinv.runs.layout import WANDB_RUN_ID
from tinv.training.loggers.wandb_run import WandbRun


def is_known(run: Path) -> bool:
    """Whether W&B has heard of a run."""
    return (run / WANDB_RUN_ID).is_file()


def tell_wandb(run: Path, numbers: Mapping[str, float], *, settings: Mapping[str, Any]) -> None:
    """Put numbers into the summary of a run, by names such as `evaluation/clip_i`.

    Args:
        run: the run's folder, which has its id.
        numbers: by name.
        settings: `project`, `entity` and `mode` of the run's logger.

    Raises:
        UserError: there is no client or no key, or W&B does not answer.
    """
    home = {"project": settings.get("project") or "tinv", "entity": settings.get("entity")}
    link = WandbRun(run, mode=settings.get("mode"), home=home, about={})
    link.run.summary.update(dict(numbers))
    link.finish(0)
