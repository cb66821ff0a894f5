"""Evaluations on W&B, in the runs that they are of."""

from collections.abc import Mapping
from typing import Any

from tinv.evaluation.targets import EvaluationTarget
from tinv.publish.run_config import RunConfig
from tinv.training.loggers.wandb_run import has_wandb_run, update_summary

PREFIX = "evaluation"


def log_evaluation(target: EvaluationTarget, result: Mapping[str, Any]) -> bool:
    """Tell the run's board, if it has one; whether it has.

    Numbers are in the run's summary as `evaluation/clip_i`; `evaluation/clip_i/cat-toy` in a run of several concepts.

    Raises:
        UserError: W&B does not let us.
    """
    if not target.path.is_dir() or not has_wandb_run(target.path):
        return False
    suffix = "" if target.folder == target.path else f"/{target.folder.name}"
    scores = {name: value for name, value in result["scores"].items() if value is not None}
    config = RunConfig(target.path)
    settings = {key: config.get(f"logger.wandb.{key}") for key in ("project", "entity", "mode")}
    update_summary(target.path, {f"{PREFIX}/{name}{suffix}": value for name, value in scores.items()}, config=settings)
    return True
