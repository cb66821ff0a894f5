"""A run resumes from a checkpoint bit for bit, and never from a damaged one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.training.callbacks.fitting import crash, fit, vectors
from tinv.errors import UserError
from tinv.runs.checkpoint_digest import find_damage
from tinv.runs.layout import checkpoint_path, checkpoint_step, list_checkpoints
from tinv.training.callbacks import Checkpoints
from tinv.training.loggers.csv_logger import CSVLogger


def saved_steps(folder: Path) -> list[int]:
    return sorted(checkpoint_step(path) for path in list_checkpoints(folder))


def test_saves_every_n_optimizer_steps_and_the_last_once(tmp_path, model):
    saved = []

    class Recording(Checkpoints):
        def save(self, trainer) -> None:  # type: ignore[no-untyped-def]
            saved.append(trainer.global_step)
            super().save(trainer)

    fit(tmp_path, model, [Recording(tmp_path, every_n_steps=2, total_limit=None)], max_steps=5, accumulate=3)
    assert saved == saved_steps(tmp_path) == [2, 4, 5]
    assert {path.suffix for path in (tmp_path / "checkpoints").iterdir()} == {".ckpt"}


def test_total_limit_keeps_the_newest(tmp_path, model):
    fit(tmp_path, model, [Checkpoints(tmp_path, every_n_steps=1, total_limit=2)], max_steps=5)
    assert saved_steps(tmp_path) == [4, 5]


def test_a_checkpoint_contains_only_the_learned_vectors(tmp_path, model):
    fit(tmp_path, model, [Checkpoints(tmp_path)], max_steps=2, num_vectors=4)
    (path,) = list_checkpoints(tmp_path)
    assert path.stat().st_size < 2**20
    content = torch.load(path, weights_only=True)
    assert {name: len(value) for name, value in content["state_dict"].items()} == {"0.embedding.weights.clip_l": 4}
    assert content["global_step"] == 2
    assert find_damage(path) is None


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_crashed_and_resumed_run_equals_an_uninterrupted_one(tmp_path, model, accumulate):
    options = {"max_steps": 9, "accumulate": accumulate, "num_vectors": 2, "init": "mean"}
    uninterrupted = fit(tmp_path, model, [], **options)
    resume = crash(tmp_path, model, [Checkpoints(tmp_path, every_n_steps=5)], 7, **options)
    resumed = fit(tmp_path, model, [], resume=resume, **options)
    assert checkpoint_step(resume) == 5
    assert torch.equal(vectors(resumed), vectors(uninterrupted))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_validation_that_a_killed_run_missed_is_repeated(tmp_path, model, accumulate):
    class KillAtValidation(Callback):
        def on_validation_start(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 4:
                raise RuntimeError

    def run(name: str, *more: Callback, resume: Path | None = None) -> str:
        folder = tmp_path / name
        callbacks = [Checkpoints(folder, every_n_steps=4), *more]
        fit(folder, model, callbacks, max_steps=9, accumulate=accumulate, loggers=[CSVLogger(folder)], resume=resume)
        return (folder / "metrics.csv").read_text()

    with pytest.raises(RuntimeError):
        run("killed", KillAtValidation())
    assert run("killed", resume=list_checkpoints(tmp_path / "killed")[0]) == run("uninterrupted")


def test_a_complete_run_resumes_with_more_steps(tmp_path, model):
    uninterrupted = fit(tmp_path, model, [], max_steps=8)
    fit(tmp_path, model, [Checkpoints(tmp_path)], max_steps=5)
    resumed = fit(tmp_path, model, [], max_steps=8, resume=list_checkpoints(tmp_path)[0])
    assert resumed.global_step == 8
    assert torch.equal(vectors(resumed), vectors(uninterrupted))


def test_a_damaged_checkpoint_of_a_later_step_is_not_counted_and_is_replaced(tmp_path, model):
    checkpoint_path(tmp_path, 4).parent.mkdir()
    for step in (4, 9):
        checkpoint_path(tmp_path, step).write_bytes(b"damaged")
    fit(tmp_path, model, [Checkpoints(tmp_path, every_n_steps=1, total_limit=1)], max_steps=3)
    assert saved_steps(tmp_path) == [3, 4, 9]
    fit(tmp_path, model, [Checkpoints(tmp_path, every_n_steps=10)], max_steps=4)
    assert find_damage(checkpoint_path(tmp_path, 4)) is None


def test_a_checkpoint_that_lightning_saves_has_a_digest_too(tmp_path, model):
    lightning = ModelCheckpoint(tmp_path / "own", every_n_train_steps=2, save_last=True)
    fit(tmp_path, model, [Checkpoints(tmp_path), lightning], trainer={"enable_checkpointing": True})
    files = sorted((tmp_path / "own").iterdir())
    assert len(files) == 2 and not any(map(find_damage, files))


@pytest.mark.parametrize("damage", ["a,b\n", "step,train/loss\n0,0.25\n", None], ids=["changed", "cut", "removed"])
def test_a_resume_says_which_metrics_are_missing(tmp_path, model, damage):
    def run(max_steps: int, resume: Path | None = None) -> Any:
        callbacks = [Checkpoints(tmp_path, every_n_steps=4)]
        fit(tmp_path, model, callbacks, max_steps=max_steps, loggers=[CSVLogger(tmp_path)], resume=resume)

    run(4)
    (tmp_path / "metrics.csv").unlink()
    if damage:
        (tmp_path / "metrics.csv").write_text(damage)
    lost = "2 of 3" if damage and "0.25" in damage else "3 of 3"
    with pytest.warns(UserWarning, match=rf"metrics\.csv: {lost} rows are missing before step 3"):
        run(8, resume=checkpoint_path(tmp_path, 4))


def test_a_folder_that_is_not_writable_is_named(tmp_path, model):
    (tmp_path / "run").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot write .*step_000001\.ckpt"):
        fit(tmp_path, model, [Checkpoints(tmp_path / "run", every_n_steps=1)])
