"""progress.json says how far a run is while it goes on."""

import json
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, Trainer

from tests.training.callbacks.fitting import fit
from tinv.errors import UserError
from tinv.models import LatentDiffusion
from tinv.training.callbacks import ProgressFile


class Read(Callback):
    """Keeps what the file said after each step."""

    def __init__(self, path: Path):
        self.path, self.seen = path, list[dict[str, Any]]()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.seen.append(json.loads(self.path.read_text()))


def test_step_rate_time_left_and_loss_are_there_at_every_moment(tmp_path: Path, model: LatentDiffusion) -> None:
    read = Read(tmp_path / "progress.json")
    fit(tmp_path, model, [ProgressFile(tmp_path, every_s=0), read], max_steps=4)
    assert [told["step"] for told in read.seen] == [1, 2, 3, 4]
    told = read.seen[2]
    assert told["max_steps"] == 4 and told["steps_per_s"] > 0 and told["loss"] > 0
    assert told["seconds_left"] == pytest.approx(1 / told["steps_per_s"], abs=1)


def test_it_writes_no_more_often_than_it_is_told_but_for_the_end(tmp_path: Path, model: LatentDiffusion) -> None:
    read = Read(tmp_path / "progress.json")
    fit(tmp_path, model, [ProgressFile(tmp_path, every_s=3600), read], max_steps=4)
    assert {told["step"] for told in read.seen} == {0}
    assert json.loads(read.path.read_text())["step"] == 4
    with pytest.raises(UserError, match="every_s must be 0 or more"):
        ProgressFile(tmp_path, every_s=-1)
