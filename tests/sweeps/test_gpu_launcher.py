"""Sweeps with hydra/launcher=gpus."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sweeps.outputs import column, sweep_dir, table
from tinv.runs.parent_process import is_alive
from tinv.runs.reader import RunReader

STUB = Path(__file__).with_name("stub.py")
CAT = "+experiment=cat_toy"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")]


def start(tmp_path: Path, *argv: str) -> subprocess.Popen[str]:
    env = {**os.environ, "HYDRA_FULL_ERROR": "1"}
    env.pop("OMP_NUM_THREADS", None)
    command = [sys.executable, str(STUB), "-m", CAT, "hydra/launcher=gpus", *argv]
    return subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_points_at_once_have_different_devices_and_a_killed_point_has_failed(tmp_path):
    sweep = start(tmp_path, "seed=0,3,1,2,4,5", "hydra.launcher.devices=[6,7]")
    out, err = sweep.communicate(timeout=600)
    folder = sweep_dir(tmp_path)
    assert sweep.returncode == 1
    assert column(folder, "status") == ["done", "failed", "done", "failed", "failed", "done"]
    reasons = column(folder, "reason")
    assert "killed by SIGKILL" in reasons[1] and "killed by SIGSEGV" in reasons[4]
    assert reasons[3] == "seed 2 is unlucky"
    assert column(folder, "val/loss")[2] == "0.1"
    seen = [json.loads((folder / number / "seen.json").read_text()) for number in ("0", "2", "5")]
    assert {run["CUDA_VISIBLE_DEVICES"] for run in seen} <= {"6", "7"}
    for run in seen:
        others = [o for o in seen if o is not run and o["CUDA_VISIBLE_DEVICES"] == run["CUDA_VISIBLE_DEVICES"]]
        assert all(o["started"] >= run["ended"] or o["ended"] <= run["started"] for o in others)
    assert "point 1 (seed=3) starts on device" in out
    assert "seed 2 is unlucky" in (folder / "3" / "log.txt").read_text()
    assert "3 of 6 points failed" in err and "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_all_points_end_with_the_sweep(tmp_path, number):
    run = start(
        tmp_path, "seed=9", "optimizer.lr=1e-3,2e-3,3e-3", "hydra.launcher.devices=[]", "hydra.launcher.n_jobs=2"
    )
    while len(list(tmp_path.glob("outputs/*/*/*/waiting"))) < 2:
        assert run.poll() is None
        time.sleep(0.1)
    run.send_signal(number)
    _, err = run.communicate(timeout=60)
    folder = sweep_dir(tmp_path)
    pids = [int(RunReader(folder / point).status.process.rpartition(":")[2]) for point in ("0", "1")]
    deadline = time.monotonic() + 20
    while number == signal.SIGKILL and any(map(is_alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not any(map(is_alive, pids))
    assert [RunReader(folder / point).status.status for point in ("0", "1")] == ["interrupted"] * 2
    if number == signal.SIGKILL:
        return
    assert run.returncode == 128 + number
    assert [row["status"] for row in table(folder)] == ["interrupted", "interrupted", "waiting"]
    assert f"interrupted by {number.name}; to go on: sweep.resume=" in err
