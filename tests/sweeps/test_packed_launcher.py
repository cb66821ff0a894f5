"""Sweeps with hydra/launcher=packed."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from tests.sweeps.outputs import column, sweep_dir
from tests.sweeps.tiny_runs import TINY, write_tiny
from tinv.formats import read
from tinv.runs.layout import METRICS

ROOT = Path(__file__).resolve().parents[2]
PACKED = ["hydra/launcher=packed", "hydra.launcher.lanes=3"]
SHORT = [
    *["trainer.max_steps=6", "trainer.val_check_interval=3", "callbacks.checkpoints.every_n_steps=2"],
    *["callbacks.samples.num_inference_steps=1", "data.val_draws=2", "data.batch_size=1", "trainer.accelerator=cpu"],
]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer=ddp", "hydra/launcher=packed runs each point on one device"),
        ("trainer.precision=bf16-true", "Set model.dtype and trainer.precision=32-true instead"),
        ("model.compile=true", "hydra/launcher=packed joins batches of changing size"),
        ("data.num_workers=2", "Set data.num_workers=0; latents are cached"),
        ("hydra.launcher.lanes=0", "auto measures how many fit"),
        ("hydra.launcher.memory_fraction=2", "must be above 0 and at most 1"),
    ],
)
def test_what_lanes_cannot_do_is_refused_before_anything_starts(run_main, tmp_path, override, message):
    result = run_main("-m", "+experiment=cat_toy", "seed=0,1", "hydra/launcher=packed", override)
    assert result.code == 1 and message in result.err
    assert not list(tmp_path.glob("outputs/*/*/0"))


def command(*argv: str) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), "-m", *TINY, *SHORT, *PACKED, *argv]


def run(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*argv), cwd=folder, capture_output=True, text=True, timeout=600)


def steps_of(run_dir: Path) -> list[int]:
    """The steps of the rows of metrics.csv with a training loss, in the order of the file."""
    with (run_dir / METRICS).open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]


@pytest.mark.slow
def test_a_packed_sweep_has_the_results_of_an_ordinary_one_and_failures_stay_alone(tmp_path):
    write_tiny(tmp_path)
    points = ["optimizer.lr=1e-3,1e30", "seed=0,1", "embedding.num_vectors=1,2"]
    result = run(tmp_path, *points)
    assert result.returncode == 1, result.stderr
    folder = sweep_dir(tmp_path, "untitled")
    assert column(folder, "status") == ["done"] * 4 + ["failed"] * 4
    assert "4 of 8 points failed" in result.stderr and "Traceback" not in result.stderr
    assert "became infinite or NaN" in (folder / "4" / "log.txt").read_text()
    alone = tmp_path / "alone"
    settings = ["optimizer.lr=1e-3", "seed=1", "embedding.num_vectors=2", f"hydra.run.dir={alone}"]
    subprocess.run([sys.executable, str(ROOT / "train.py"), *TINY, *SHORT, *settings], cwd=tmp_path, check=True)
    packed, expected = (read(path / "learned_embeds.safetensors").vectors["clip_l"] for path in (folder / "3", alone))
    torch.testing.assert_close(packed, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_ended_sweep_goes_on_where_each_lane_was(tmp_path, number):
    """SIGTERM ends the sweep. SIGKILL ends the process of the lanes, whose points then go on by themselves."""
    write_tiny(tmp_path)
    process = subprocess.Popen(
        command("seed=0,1,2", "trainer.max_steps=40"), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob("outputs/*/*/*/checkpoints/step_*4.ckpt")):
        assert process.poll() is None
        time.sleep(0.2)
    if number == signal.SIGKILL:
        (child,) = [child for child in psutil.Process(process.pid).children() if "packed" in " ".join(child.cmdline())]
        child.send_signal(number)
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=600)
    folder = sweep_dir(tmp_path, "untitled")
    if number == signal.SIGKILL:
        assert "was killed by SIGKILL" in err and process.returncode == 0, err
    else:
        assert process.returncode == 143, err
        assert set(column(folder, "status")) <= {"interrupted", "waiting"}
        result = run(tmp_path, "seed=0,1,2", "trainer.max_steps=40", f"sweep.resume={folder}")
        assert result.returncode == 0, result.stderr
    assert column(folder, "status") == ["done"] * 3
    assert [steps_of(folder / str(point)) for point in range(3)] == [steps_of(folder / "0")] * 3
    assert len(set(steps_of(folder / "0"))) == len(steps_of(folder / "0")) >= 4
