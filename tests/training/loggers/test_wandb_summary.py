"""An evaluation is found in the run of W&B that it is of."""

from pathlib import Path

import pytest
import yaml

from tests.cli.test_cli import learn
from tests.training.loggers.reading import sessions
from tinv.cli.evaluate_wandb import tell
from tinv.evaluation import find_subjects
from tinv.models import LatentDiffusion
from tinv.training.loggers.wandb import WandbLogger


@pytest.fixture
def run(tmp_path: Path, model: LatentDiffusion) -> Path:
    """A run that W&B has heard of, offline."""
    folder = learn(tmp_path / "run", model)
    board = WandbLogger(folder, name="cat", mode="offline", project="mine")
    board.log_hyperparams({"seed": 0})
    board.log_metrics({"val/loss": 0.5}, step=3)
    board.finish(None)
    (folder / ".hydra").mkdir()
    told = {"logger": {"wandb": {"project": "mine", "entity": None, "mode": "offline"}}}
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(told))
    (folder / "run.json").write_text("{}")
    return folder


def test_numbers_go_into_the_summary_of_the_same_run(run: Path) -> None:
    (subject,) = find_subjects([run])[run]
    assert tell(subject, {"scores": {"clip_i": 0.75, "clip_t": 0.25, "dino": None}})
    first, second = sessions(run)
    assert second.run.run_id == first.run.run_id == (run / "wandb_run_id").read_text()
    assert second.run.project == "mine"
    found = {name: value for name, value in second.summary.items() if name.startswith("evaluation")}
    assert found == {"evaluation/clip_i": 0.75, "evaluation/clip_t": 0.25}
    assert second.exit_code == 0
    assert not second.history, "no step is taken twice"


def test_a_run_that_wandb_does_not_know_is_left_alone(tmp_path: Path, model: LatentDiffusion) -> None:
    folder = learn(tmp_path / "run", model)
    (subject,) = find_subjects([folder])[folder]
    assert not tell(subject, {"scores": {"clip_i": 0.75}})
    assert not (folder / "wandb").exists()
