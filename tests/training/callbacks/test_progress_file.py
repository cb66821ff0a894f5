"""progress.json is up to date during a run."""

import json
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, Trainer

from tests.training.callbacks.fitting import fit
from tinv.training.callbacks import ProgressFile


class Read(Callback):
    """Reads the file after each step."""

    def __init__(self, path: Path):
        self.path, self.contents = path, list[dict[str, Any]]()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.contents.append(json.loads(self.path.read_text()))


def test_step_speed_time_left_and_loss_are_always_there(tmp_path, model):
    reader = Read(tmp_path / "progress.json")
    fit(tmp_path, model, [ProgressFile(tmp_path, every_s=0), reader], max_steps=4)
    assert [progress["step"] for progress in reader.contents] == [1, 2, 3, 4]
    progress = reader.contents[2]
    assert progress["max_steps"] == 4 and progress["steps_per_s"] > 0 and progress["loss"] > 0
    assert progress["seconds_left"] == pytest.approx(1 / progress["steps_per_s"], abs=1)


def test_it_writes_at_intervals_and_at_the_end(tmp_path, model):
    reader = Read(tmp_path / "progress.json")
    fit(tmp_path, model, [ProgressFile(tmp_path, every_s=3600), reader], max_steps=4)
    assert {progress["step"] for progress in reader.contents} == {0}
    assert json.loads(reader.path.read_text())["step"] == 4
