"""A sweep that is interrupted and resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.sweeps.outputs import column
from tests.sweeps.tiny_runs import TINY, write_tiny

ROOT = Path(__file__).resolve().parents[2]
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
SWEEP = [
    *["-m", "seed=1,2,3", "+debug=fast", *TINY, "~callbacks.samples", "trainer=cpu", "trainer.max_steps=40"],
    *["callbacks.checkpoints.every_n_steps=5", "callbacks.export.every_n_steps=null", "trainer.val_check_interval=20"],
]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")]


def start(folder: Path, *argv: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "train.py"), *argv]
    return subprocess.Popen(command, cwd=folder, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def until(run: subprocess.Popen[bytes], folder: Path, pattern: str) -> None:
    while not list(folder.glob(pattern)):
        assert run.poll() is None
        time.sleep(0.01)


def test_a_sweep_that_is_interrupted_twice_learns_the_same(tmp_path):
    write_tiny(tmp_path)
    assert start(tmp_path, *SWEEP, "name=uninterrupted").wait(timeout=900) == 0

    run = start(tmp_path, *SWEEP, "name=ended")
    until(run, tmp_path, "outputs/ended/*/0/checkpoints/step_000010.ckpt")
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=300) == 130
    (ended,) = (tmp_path / "outputs" / "ended").iterdir()
    assert column(ended, "status") == ["interrupted", "waiting", "waiting"]

    run = start(tmp_path, f"sweep.resume={ended}")
    until(run, tmp_path, "outputs/ended/*/1/checkpoints/step_000010.ckpt")
    run.kill()
    run.wait(timeout=300)
    assert column(ended, "status") == ["done", "waiting", "waiting"]

    assert start(tmp_path, f"sweep.resume={ended}").wait(timeout=900) == 0
    (uninterrupted,) = (tmp_path / "outputs" / "uninterrupted").iterdir()
    assert column(ended, "status") == ["done"] * 3
    assert column(ended, "val/loss") == column(uninterrupted, "val/loss")
    for point in ("0", "1", "2"):
        expected, actual = (
            load_file(folder / point / "learned_embeds.safetensors")["my-cat"] for folder in (uninterrupted, ended)
        )
        assert torch.equal(expected, actual)


def test_a_full_disk_is_a_clear_error_and_the_table_is_printed(tmp_path):
    write_tiny(tmp_path)
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)); sys.argv.pop(0); "
    limited += (
        "runpy.run_path(sys.argv[0], run_name='__main__')"  # enough for the configuration, too little for a checkpoint
    )
    command = [sys.executable, "-c", limited, str(ROOT / "train.py"), *SWEEP, "name=full", "embedding.num_vectors=16"]
    done = subprocess.run(command, cwd=tmp_path, env=ENV, capture_output=True, text=True, timeout=900, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "3 of 3 points failed:\n  point 0 (seed=1): cannot write " in done.stderr
    (full,) = (tmp_path / "outputs" / "full").iterdir()
    assert column(full, "status") == ["failed"] * 3
