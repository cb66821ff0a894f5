"""Logs the scores of an evaluation to the W&B run of its training run."""

from collections.abc import Mapping
from typing import Any

from tinv.evaluation.targets import EvaluationTarget
from tinv.publish.run_config import RunConfig
from tinv.runs.layout import WANDB_RUN_ID
from tinv.training.loggers.wandb_run import update_summary

PREFIX = "evaluation"


def log_evaluation(target: EvaluationTarget, result: Mapping[str, Any]) -> bool:
    """Adds the scores to the summary of the run on W&B; returns whether there is such a run.

    The names are `evaluation/clip_i`, and `evaluation/clip_i/cat-toy` in a run of several concepts.

    Raises:
        UserError: W&B is not reachable.
    """
    if not (target.path / WANDB_RUN_ID).is_file():
        return False
    suffix = "" if target.folder == target.path else f"/{target.folder.name}"
    scores = {name: value for name, value in result["scores"].items() if value is not None}
    config = RunConfig(target.path)
    settings = {key: config.get(f"logger.wandb.{key}") for key in ("project", "entity", "mode")}
    update_summary(target.path, {f"{PREFIX}/{name}{suffix}": value for name, value in scores.items()}, config=settings)
    return True
