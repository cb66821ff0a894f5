"""A checkpoint's digest shows every change of its bytes, and every program reads the file as before."""

import random
import zipfile
from pathlib import Path

import pytest
import torch

from tests.checkpoint_files import EMPTY_ZIP, write_checkpoint
from tinv.errors import UserError
from tinv.runs.checkpoint_digest import add_digest, find_damage, read_verified
from tinv.runs.layout import checkpoint_path, list_checkpoints
from tinv.runs.resume import find_checkpoint
from tinv.training.checkpoint_io import VerifiedCheckpointIO

CONTENT = {"state_dict": {"x": torch.arange(40.0)}, "global_step": 3, "text": "a"}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    VerifiedCheckpointIO().save_checkpoint(CONTENT, tmp_path / "step_000003.ckpt")
    return tmp_path / "step_000003.ckpt"


def test_torch_and_zip_programs_read_it(checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    assert torch.equal(content["state_dict"]["x"], CONTENT["state_dict"]["x"])
    with zipfile.ZipFile(checkpoint) as archive:
        assert archive.testzip() is None and archive.comment.startswith(b"sha256:")


def test_no_changed_bit_and_no_cut_passes(checkpoint):
    content, rng = checkpoint.read_bytes(), random.Random(0)
    assert find_damage(checkpoint) is None and read_verified(checkpoint) == content
    for position in [*range(-80, 0), *(rng.randrange(len(content)) for _ in range(400))]:
        changed = bytearray(content)
        changed[position] ^= 1 << rng.randrange(8)
        checkpoint.write_bytes(changed)
        assert find_damage(checkpoint)
    for length in (0, 1, 70, 71, 72, len(content) // 2, len(content) - 1):
        checkpoint.write_bytes(content[:length])
        assert find_damage(checkpoint)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no SHA-256 at its end"),
        (b"<html>not found</html>", "no SHA-256 at its end"),
        (add_digest(EMPTY_ZIP)[1:], "its SHA-256 is wrong"),
        (add_digest(EMPTY_ZIP), "not written by tinv"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_a_sentence(tmp_path, content, problem):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=rf"checkpoint .*x\.ckpt: {problem}.*Resume from another one\."):
        VerifiedCheckpointIO().load_checkpoint(tmp_path / "x.ckpt", weights_only=True)


def test_a_missing_file_and_one_without_the_state_of_a_run_are_sentences(tmp_path, checkpoint):
    with pytest.raises(UserError, match="it has no optimizer_states, lr_schedulers, loops, tinv"):
        VerifiedCheckpointIO().load_checkpoint(checkpoint, weights_only=True)
    with pytest.raises(UserError, match="cannot be read"):
        read_verified(tmp_path / "nothing.ckpt")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with four checkpoints, of which the two newest are damaged."""
    for step in (10, 20, 30, 40):
        write_checkpoint(checkpoint_path(tmp_path / "run", step))
    for path in list_checkpoints(tmp_path / "run")[:2]:
        path.write_bytes(path.read_bytes()[:-1])
    return tmp_path / "run"


def test_latest_passes_over_damaged_checkpoints_and_names_them(run):
    for resume in ("latest", str(run)):
        problems: list[str] = []
        assert find_checkpoint(run, resume, problems.append) == checkpoint_path(run, 20)
        assert [("step_000040" in text, "step_000030" in text) for text in problems] == [(True, False), (False, True)]


def test_a_damaged_checkpoint_that_is_named_is_an_error(run):
    for resume in (30, str(checkpoint_path(run, 30))):
        with pytest.raises(UserError, match=rf"resume={resume}: checkpoint .*beside it: 10, 20"):
            find_checkpoint(run, resume)


def test_without_an_intact_checkpoint_latest_is_an_error(run):
    for path in list_checkpoints(run):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"resume=latest: every checkpoint .* is damaged .*resume=auto"):
        find_checkpoint(run, "latest")
