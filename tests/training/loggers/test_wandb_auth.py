"""A missing API key raises before anything slow and never prompts."""

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
from tinv.training.loggers.wandb_run import check_credentials, resolve_mode

ROOT = Path(__file__).resolve().parents[3]


def test_a_missing_key_raises_with_the_ways_to_set_one(without_account):
    hints = r"^(?=.*https://wandb\.example\.org)(?=.*wandb login)(?=.*WANDB_API_KEY).*logger\.wandb\.mode=offline.*\Z"
    with pytest.raises(UserError, match=hints):
        check_credentials()


def test_a_malformed_key_raises_without_showing_it(without_account):
    without_account(WANDB_API_KEY="nonsense")
    with pytest.raises(UserError, match=r"40\+ characters.*logger\.wandb\.mode=offline") as caught:
        check_credentials()
    assert "nonsense" not in str(caught.value)


def test_a_key_in_the_environment_or_in_netrc_is_found(without_account, tmp_path):
    (tmp_path / "netrc").write_text(f"machine wandb.example.org login user password {'k' * 40}\n")
    (tmp_path / "netrc").chmod(0o600)
    check_credentials()
    (tmp_path / "netrc").unlink()
    without_account(WANDB_API_KEY="k" * 40)
    check_credentials()


@pytest.mark.parametrize(
    ("setting", "variable", "mode"),
    [
        (None, None, "online"),
        (None, "offline", "offline"),
        (None, "dryrun", "offline"),
        ("disabled", "offline", "disabled"),
        ("online", "offline", "online"),
    ],
)
def test_the_setting_overrides_the_environment(without_account, setting, variable, mode):
    if variable:
        without_account(WANDB_MODE=variable)
    assert resolve_mode(setting) == mode


@pytest.mark.slow
def test_an_unreachable_server_raises_before_the_model_loads(without_account, tmp_path):
    without_account(WANDB_API_KEY="k" * 40, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_INIT_TIMEOUT="3")
    logger = WandbLogger(tmp_path / "run", name="x", mode="online")
    logger.sweep_point = SweepPointRef("a sweep", {})  # a failed point is started in finish(), but not after a timeout
    with pytest.raises(UserError, match="does not accept the run") as caught:
        logger.log_hyperparams({})
    start = time.monotonic()
    logger.finish(caught.value)
    assert time.monotonic() - start < 3
    message = str(caught.value)
    assert "\n" not in message and "http://127.0.0.1:9" in message and "logger.wandb.mode=offline" in message
    assert wandb.run is None


@pytest.mark.slow
def test_a_batch_job_without_a_key_fails_without_a_prompt(tmp_path):
    """Its stdin stays open without input, like an unattended terminal."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment |= {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "PYTHONPATH": str(ROOT)}
    tiny_pipeline(tmp_path / "model")
    tiny_images(tmp_path / "images")
    settings = "model=local model.pretrained=model data.folder=images concept.placeholder_token=my-cat logger=wandb"
    argv = [sys.executable, str(ROOT / "train.py"), *settings.split(), "concept.initializer_token=toy", "trainer=cpu"]
    read, write = os.pipe()
    try:
        options = {"env": environment, "stdin": read, "capture_output": True, "text": True, "timeout": 300}
        done = subprocess.run(argv, cwd=tmp_path, **options)
    finally:
        os.close(read)
        os.close(write)
    assert (done.returncode, done.stderr.count("there is no API key of")) == (1, 1)
    assert "Traceback" not in done.stderr and "effective batch" not in done.stdout
