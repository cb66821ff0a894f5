"""An evaluation is logged to the W&B run that it belongs to."""

from pathlib import Path

import pytest
import yaml

from tests.cli.test_cli import make_run
from tests.training.loggers.reading import read_sessions
from tinv.cli.evaluate_wandb import log_evaluation
from tinv.evaluation import find_targets
from tinv.models import LatentDiffusion
from tinv.training.loggers.wandb import WandbLogger


@pytest.fixture
def run(tmp_path: Path, model: LatentDiffusion) -> Path:
    """The folder of a run that was logged to W&B offline."""
    folder = make_run(tmp_path / "run", model)
    logger = WandbLogger(folder, name="cat", mode="offline", project="mine")
    logger.log_hyperparams({"seed": 0})
    logger.log_metrics({"val/loss": 0.5}, step=3)
    logger.finish(None)
    (folder / ".hydra").mkdir()
    config = {"logger": {"wandb": {"project": "mine", "entity": None, "mode": "offline"}}}
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "run.json").write_text('{"seed": 0}')
    return folder


def test_scores_are_in_the_summary_of_the_same_run(run):
    (target,) = find_targets([run])[run]
    assert log_evaluation(target, {"scores": {"clip_i": 0.75, "clip_t": 0.25, "dino": None}})
    first, second = read_sessions(run)
    assert second.run.run_id == first.run.run_id == (run / "wandb_run_id").read_text()
    assert second.run.project == "mine"
    summary = {name: value for name, value in second.summary.items() if name.startswith("evaluation")}
    assert summary == {"evaluation/clip_i": 0.75, "evaluation/clip_t": 0.25}
    assert second.exit_code == 0
    assert not second.history, "no step is logged twice"


def test_a_run_that_was_not_logged_to_wandb_is_not_changed(tmp_path, model):
    folder = make_run(tmp_path / "run", model)
    (target,) = find_targets([folder])[folder]
    assert not log_evaluation(target, {"scores": {"clip_i": 0.75}})
    assert not (folder / "wandb").exists()
