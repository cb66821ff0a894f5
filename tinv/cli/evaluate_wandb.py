"""Evaluations on W&B, in the runs that they are of."""

from collections.abc import Mapping
from typing import Any

from tinv.evaluation.subjects import Subject
from tinv.publish.run_config import RunConfig
from tinv.training.loggers.wandb_run import has_wandb_run, update_summary

PREFIX = "evaluation"


def tell(subject: Subject, result: Mapping[str, Any]) -> bool:
    """Tell the run's board, if it has one; whether it has.

    Numbers are in the run's summary as `evaluation/clip_i`; `evaluation/clip_i/cat-toy` in a run of several concepts.

    Raises:
        UserError: W&B does not let us.
    """
    if not subject.place.is_dir() or not has_wandb_run(subject.place):
        return False
    suffix = "" if subject.folder == subject.place else f"/{subject.folder.name}"
    scores = {name: value for name, value in result["scores"].items() if value is not None}
    config = RunConfig(subject.place)
    settings = {key: config.get(f"logger.wandb.{key}") for key in ("project", "entity", "mode")}
    update_summary(
        subject.place, {f"{PREFIX}/{name}{suffix}": value for name, value in scores.items()}, config=settings
    )
    return True
