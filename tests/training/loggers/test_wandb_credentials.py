"""Nobody is ever asked for a key: without one there is a sentence, before anything slow."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wandb

from tests.tiny import tiny_images, tiny_pipeline
from tinv.errors import UserError
from tinv.runs.sweep_point import SweepPointRef
from tinv.training.loggers.wandb import WandbLogger
from tinv.training.loggers.wandb_auth import check_credentials, resolve_mode

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def stranger(monkeypatch, tmp_path):
    """Somebody whom W&B does not know; `stranger(NAME="value")` sets environment variables."""
    wandb.teardown()
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    monkeypatch.chdir(tmp_path)

    def become(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    yield become
    wandb.teardown()


def test_without_a_key_the_ways_to_have_one_are_named(stranger):
    with pytest.raises(UserError) as caught:
        check_credentials()
    said = str(caught.value)
    assert "\n" not in said
    for way in ("https://wandb.example.org", "wandb login", "WANDB_API_KEY", "logger.wandb.mode=offline"):
        assert way in said


def test_a_key_that_cannot_be_one_is_refused_without_being_shown(stranger):
    stranger(WANDB_API_KEY="nonsense")
    with pytest.raises(UserError, match=r"40\+ characters.*logger\.wandb\.mode=offline") as caught:
        check_credentials()
    assert "nonsense" not in str(caught.value)


def test_a_key_in_the_environment_or_in_netrc_will_do(stranger, tmp_path):
    (tmp_path / "netrc").write_text(f"machine wandb.example.org login user password {'k' * 40}\n")
    (tmp_path / "netrc").chmod(0o600)
    check_credentials()
    (tmp_path / "netrc").unlink()
    stranger(WANDB_API_KEY="k" * 40)
    check_credentials()


@pytest.mark.parametrize(
    ("chosen", "variable", "mode"),
    [
        (None, None, "online"),
        (None, "offline", "offline"),
        (None, "dryrun", "offline"),
        ("disabled", "offline", "disabled"),
        ("online", "offline", "online"),
    ],
)
def test_what_was_chosen_wins_over_the_environment(stranger, chosen, variable, mode):
    if variable:
        stranger(WANDB_MODE=variable)
    assert resolve_mode(chosen) == mode


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_one_sentence_before_the_model_loads(stranger, tmp_path):
    stranger(WANDB_API_KEY="k" * 40, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_INIT_TIMEOUT="3")
    board = WandbLogger(tmp_path / "run", name="x", mode="online")
    board.sweep_point = SweepPointRef(
        "a sweep", {}
    )  # whose points have a run even if they fail, but nobody waits for it twice
    with pytest.raises(UserError, match="does not accept the run") as caught:
        board.log_hyperparams({})
    began = time.monotonic()
    board.finish(caught.value)
    assert time.monotonic() - began < 3
    said = str(caught.value)
    assert "\n" not in said
    assert "http://127.0.0.1:9" in said and "logger.wandb.mode=offline" in said
    assert wandb.run is None


@pytest.mark.slow
def test_a_batch_job_without_a_key_ends_at_once_and_reads_nothing(tmp_path):
    """Its standard input stays open and silent, as that of a terminal nobody sits at."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment |= {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "PYTHONPATH": str(ROOT)}
    tiny_pipeline(tmp_path / "model")
    tiny_images(tmp_path / "pictures")
    settings = "model=local model.pretrained=model data.folder=pictures concept.placeholder_token=my-cat logger=wandb"
    argv = [sys.executable, str(ROOT / "train.py"), *settings.split(), "concept.initializer_token=toy", "trainer=cpu"]
    read, write = os.pipe()
    try:
        done = subprocess.run(
            argv, cwd=tmp_path, env=environment, stdin=read, capture_output=True, text=True, timeout=300
        )
    finally:
        os.close(read)
        os.close(write)
    assert done.returncode == 1
    assert done.stderr.count("there is no API key for") == 1
    assert "Traceback" not in done.stderr and "effective batch" not in done.stdout
