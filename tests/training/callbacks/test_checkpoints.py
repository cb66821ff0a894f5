"""A run goes on from a checkpoint exactly, and a broken checkpoint is never gone on from."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from tests.training.callbacks.fitting import Interrupt, fit, rows
from tinv.errors import UserError
from tinv.models import LatentDiffusion
from tinv.runs.layout import checkpoint_step, list_checkpoints
from tinv.training.callbacks import Checkpoints
from tinv.training.callbacks.checkpoints import newest_valid, verify
from tinv.training.loggers.csv_logger import CSVLogger


def saved_steps(folder: Path) -> list[int]:
    return sorted(checkpoint_step(path) for path in list_checkpoints(folder))


def test_there_is_a_checkpoint_every_n_optimizer_steps_and_after_the_last_one(
    tmp_path: Path, model: LatentDiffusion
) -> None:
    fit(tmp_path, model, [Checkpoints(tmp_path, every_n_steps=2, total_limit=None)], max_steps=5, accumulate=3)
    assert saved_steps(tmp_path) == [2, 4, 5]
    assert {path.suffix for path in (tmp_path / "checkpoints").iterdir()} == {".ckpt"}


def test_a_step_is_saved_once_although_several_batches_belong_to_it(tmp_path: Path, model: LatentDiffusion) -> None:
    saved = []

    class Counted(Checkpoints):
        def save(self, trainer) -> None:  # type: ignore[no-untyped-def]
            saved.append(trainer.global_step)
            super().save(trainer)

    fit(tmp_path, model, [Counted(tmp_path, every_n_steps=1)], max_steps=3, accumulate=4)
    assert saved == [1, 2, 3]


def test_only_the_newest_are_kept(tmp_path: Path, model: LatentDiffusion) -> None:
    fit(tmp_path, model, [Checkpoints(tmp_path, every_n_steps=1, total_limit=2)], max_steps=5)
    assert saved_steps(tmp_path) == [4, 5]


def test_a_checkpoint_is_small_plain_and_without_the_frozen_model(tmp_path: Path, model: LatentDiffusion) -> None:
    fit(tmp_path, model, [Checkpoints(tmp_path)], max_steps=2, num_vectors=4)
    (path,) = list_checkpoints(tmp_path)
    assert path.stat().st_size < 2**20
    content = torch.load(path, weights_only=True)
    assert list(content["state_dict"]) == ["0.embedding.weights.clip_l"]
    assert content["state_dict"]["0.embedding.weights.clip_l"].shape[0] == 4
    assert content["global_step"] == 2
    verify(path)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_that_crashed_and_went_on_ends_where_an_unbroken_one_does(
    tmp_path: Path, model: LatentDiffusion, accumulate: int
) -> None:
    options = {"max_steps": 9, "accumulate": accumulate, "num_vectors": 2, "init": "mean"}
    unbroken = fit(tmp_path, model, [], **options)
    with pytest.raises(RuntimeError):
        fit(tmp_path, model, [Checkpoints(tmp_path, every_n_steps=5), Interrupt(7, RuntimeError())], **options)
    assert saved_steps(tmp_path) == [5]
    resumed = fit(tmp_path, model, [], resume=newest_valid(list_checkpoints(tmp_path)), **options)
    assert torch.equal(rows(resumed), rows(unbroken))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_measurement_that_a_killed_run_did_not_get_to_is_made_up_for(
    tmp_path: Path, model: LatentDiffusion, accumulate: int
) -> None:
    class Killed(Callback):
        def on_validation_start(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 4:
                raise RuntimeError

    def go(name: str, *more: Callback, resume: Path | None = None) -> str:
        run = tmp_path / name
        parts = [Checkpoints(run, every_n_steps=4), *more]
        fit(run, model, parts, max_steps=9, accumulate=accumulate, loggers=[CSVLogger(run)], resume=resume)
        return (run / "metrics.csv").read_text()

    with pytest.raises(RuntimeError):
        go("killed", Killed())
    assert go("killed", resume=newest_valid(list_checkpoints(tmp_path / "killed"))) == go("unbroken")


def test_a_run_that_had_ended_can_be_made_longer(tmp_path: Path, model: LatentDiffusion) -> None:
    unbroken = fit(tmp_path, model, [], max_steps=8)
    fit(tmp_path, model, [Checkpoints(tmp_path)], max_steps=5)
    resumed = fit(tmp_path, model, [], max_steps=8, resume=newest_valid(list_checkpoints(tmp_path)))
    assert resumed.global_step == 8
    assert torch.equal(rows(resumed), rows(unbroken))


def broken(folder: Path, kind: str, whole: bytes) -> Path:
    half = len(whole) // 2
    contents = {
        "cut in the middle": whole[:half],
        "cut at the end": whole[:-10],
        "one bit altered": whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :],
        "empty": b"",
        "a page": b"<html>not found</html>",
    }
    path = folder / "checkpoints" / "step_000009.ckpt"
    path.write_bytes(contents[kind])
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, model: LatentDiffusion) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    fit(folder, model, [Checkpoints(folder)], max_steps=1)
    return list_checkpoints(folder)[0].read_bytes()


@pytest.mark.parametrize("kind", ["cut in the middle", "cut at the end", "one bit altered", "empty", "a page"])
def test_a_broken_checkpoint_is_passed_over_for_the_one_before_with_a_warning(
    tmp_path: Path, whole: bytes, kind: str
) -> None:
    good = tmp_path / "checkpoints" / "step_000004.ckpt"
    good.parent.mkdir()
    good.write_bytes(whole)
    bad = broken(tmp_path, kind, whole)
    with pytest.warns(UserWarning, match=r"skipped: checkpoint .*step_000009\.ckpt"):
        assert newest_valid([good, bad]) == good
    good.unlink()
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(UserError, match="none of 1 checkpoint"):
        newest_valid([bad])


def test_a_file_of_another_program_and_a_missing_one_are_refused_in_words(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "global_step": 3}, tmp_path / "step_000003.ckpt")
    with pytest.raises(UserError, match=r"it has no optimizer_states, lr_schedulers, loops"):
        verify(tmp_path / "step_000003.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(UserError, match="it has no state_dict"):
        verify(tmp_path / "list.ckpt")
    with pytest.raises(UserError, match="there is no checkpoint"):
        verify(tmp_path / "step_000005.ckpt")


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path, model: LatentDiffusion) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot write .*step_000001\.ckpt"):
        fit(tmp_path, model, [Checkpoints(tmp_path / "run", every_n_steps=1)])


def test_keeping_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"callbacks\.checkpoints\.total_limit must be 1 or more, got 0"):
        Checkpoints(tmp_path, total_limit=0)
