"""progress.json is up to date during a run."""

import json
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, Trainer

from tests.training.callbacks.fitting import fit
from tinv.training.callbacks import ProgressFile
from tinv.training.callbacks.progress_file import MAX_TIMELINE


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


def test_the_time_of_each_step_continues_after_a_resume(tmp_path, model):
    fit(tmp_path, model, [ProgressFile(tmp_path, every_s=0)], max_steps=3)
    first = json.loads((tmp_path / "progress.json").read_text())
    assert [step for step, _ in first["timeline"]] == [0, 1, 2, 3]
    assert first["memory_gb"]["process"] > 0
    callback = ProgressFile(tmp_path)
    trainer = Trainer(logger=False, max_steps=5)
    trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total.completed = 2  # what global_step counts
    callback.on_train_start(trainer, None)
    resumed = json.loads((tmp_path / "progress.json").read_text())["timeline"]
    assert resumed == first["timeline"][: trainer.global_step + 1]


def test_the_timeline_stays_short_and_keeps_both_ends(tmp_path):
    callback = ProgressFile(tmp_path)
    for step in range(3 * MAX_TIMELINE):
        callback._add_time(step)
    steps = [step for step, _ in callback._timeline]
    assert steps[0] == 0 and steps[-1] == 3 * MAX_TIMELINE - 1 and len(steps) < MAX_TIMELINE
    assert steps == sorted(set(steps))
