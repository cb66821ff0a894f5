"""A run resumes from a checkpoint bit for bit, and never from a damaged one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from tests.training.callbacks.fitting import crash, fit, vectors
from tinv.errors import UserError
from tinv.models import LatentDiffusion
from tinv.runs.layout import checkpoint_path, checkpoint_step, list_checkpoints
from tinv.training.callbacks import Checkpoints
from tinv.training.callbacks.checkpoints import newest_valid, verify
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
    verify(path)


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
    assert run("killed", resume=newest_valid(list_checkpoints(tmp_path / "killed"))) == run("uninterrupted")


def test_a_complete_run_resumes_with_more_steps(tmp_path, model):
    uninterrupted = fit(tmp_path, model, [], max_steps=8)
    fit(tmp_path, model, [Checkpoints(tmp_path)], max_steps=5)
    resumed = fit(tmp_path, model, [], max_steps=8, resume=newest_valid(list_checkpoints(tmp_path)))
    assert resumed.global_step == 8
    assert torch.equal(vectors(resumed), vectors(uninterrupted))


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory, model: LatentDiffusion) -> bytes:
    folder = tmp_path_factory.mktemp("intact")
    fit(folder, model, [Checkpoints(folder)], max_steps=1)
    return list_checkpoints(folder)[0].read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda intact: intact[: len(intact) // 2],
        lambda intact: intact[:-10],
        lambda intact: (half := len(intact) // 2) and intact[:half] + bytes([intact[half] ^ 1]) + intact[half + 1 :],
        lambda intact: b"",
        lambda intact: b"<html>not found</html>",
    ],
)
def test_a_damaged_checkpoint_is_skipped_with_a_warning(tmp_path, intact, damage):
    good, bad = checkpoint_path(tmp_path, 4), checkpoint_path(tmp_path, 9)
    good.parent.mkdir()
    good.write_bytes(intact)
    bad.write_bytes(damage(intact))
    with pytest.warns(UserWarning, match=r"skipped: checkpoint .*step_000009\.ckpt"):
        assert newest_valid([good, bad]) == good
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(UserError, match="none of 1 checkpoint"):
        newest_valid([bad])


def test_a_missing_file_and_one_of_another_program_raise(tmp_path):
    torch.save({"state_dict": {}, "global_step": 3}, tmp_path / "step_000003.ckpt")
    with pytest.raises(UserError, match=r"it has no optimizer_states, lr_schedulers, loops"):
        verify(tmp_path / "step_000003.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(UserError, match="it has no state_dict"):
        verify(tmp_path / "list.ckpt")
    with pytest.raises(UserError, match="there is no checkpoint"):
        verify(tmp_path / "step_000005.ckpt")


def test_a_folder_that_is_not_writable_is_named(tmp_path, model):
    (tmp_path / "run").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot write .*step_000001\.ckpt"):
        fit(tmp_path, model, [Checkpoints(tmp_path / "run", every_n_steps=1)])
