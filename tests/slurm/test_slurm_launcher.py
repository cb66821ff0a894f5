"""Sweeps through Slurm as they are typed; the runs themselves are stand-ins that need no torch."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.jobs import PATIENCE_S, ROOT, until
from tests.sweeps.test_grid_sweeper import column, sweep_of
from tinv.cli import main as tinv

STUB = Path(__file__).with_name("stub.py")
LAUNCHER = ["hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=0.5"]
LAUNCHER += ["hydra.launcher.timeout_min=10", "hydra.launcher.poll_s=0.5"]
CAT = "+experiment=cat_toy"


@pytest.fixture
def desk(cluster: Cluster, tmp_path: Path) -> "Desk":
    return Desk(cluster, tmp_path)


class Desk:
    """Where sweeps are typed."""

    def __init__(self, cluster: Cluster, folder: Path):
        self.cluster, self.folder = cluster, folder
        self.script = shutil.copy(STUB, folder / "stub.py")
        self.env = {**cluster.env, "PYTHONPATH": str(ROOT), "SBATCH_PARTITION": "main"}

    def start(self, *argv: str) -> subprocess.Popen[str]:
        command = [sys.executable, self.script, "-m", CAT, *LAUNCHER, *argv]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def sweep(self, *argv: str, code: int = 0) -> tuple[str, str]:
        run = self.start(*argv)
        try:
            out, err = run.communicate(timeout=2 * PATIENCE_S)
        finally:
            run.kill()
        assert run.returncode == code, out + err
        return out, err

    @property
    def outputs(self) -> Path:
        return sweep_of(self.folder)

    def seen(self, point: int) -> dict[str, str]:
        told: dict[str, str] = json.loads((self.outputs / str(point) / "seen.json").read_text())
        return told


def test_every_point_is_a_task_of_one_array_and_a_dead_one_is_a_failed_one(desk):
    out, err = desk.sweep("seed=0,1,2,3,4", code=1)
    assert column(desk.outputs, "status") == ["done", "done", "failed", "failed", "failed"]
    assert column(desk.outputs, "val/loss") == ["0.0", "0.1", "", "", ""]
    reasons = column(desk.outputs, "reason")
    assert reasons[2] == "seed 2 is unlucky"
    assert "ended as FAILED and left no result" in reasons[3]
    assert "ended as COMPLETED and left no result" in reasons[4]
    assert "seed 2 is unlucky" in (desk.outputs / "2" / "log.txt").read_text()
    jobs = re.findall(r"is job (\d+)_\d: ", out)
    assert len(jobs) == 5 and len(set(jobs)) == 1
    assert "3 of 5 points failed" in err and "Traceback" not in err


def test_a_cancelled_point_ends_the_waiting_although_nobody_keeps_accounts(desk):
    run = desk.start("seed=9,1")
    until(lambda: (desk.folder / "outputs").exists() and list(desk.outputs.glob("0/status.json")))
    until(lambda: json.loads((desk.outputs / "0" / "status.json").read_text())["status"] == "running")
    job = json.loads((desk.outputs / "0" / "status.json").read_text())["job"]
    desk.cluster.say("scancel", "--signal=KILL", "--full", job)
    desk.cluster.say("scancel", job)
    _, err = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 1
    assert column(desk.outputs, "status") == ["failed", "done"]
    assert f"job {job} ended as" in err


@pytest.mark.parametrize(
    ("asked", "remedy"),
    [
        ("hydra.launcher.timeout_min=1000", "change hydra.launcher.timeout_min"),
        ("hydra.launcher.partition=nowhere", "change hydra.launcher.partition"),
        ("hydra.launcher.mem_gb=1000", "mem_gb"),  # "memory" or "node configuration", as Slurm happens to find
        ("hydra.launcher.cpus_per_task=64", "change hydra.launcher.cpus_per_task"),
        ("hydra.launcher.options={licenses: dongle}", "icense"),
    ],
)
def test_what_slurm_refuses_is_said_with_the_line_to_change(desk, asked, remedy):
    _, err = desk.sweep("seed=0", asked, code=1)
    assert "sbatch: " in err and remedy in err
    assert "Traceback" not in err


def test_submit_comes_back_at_once_and_the_jobs_run_what_was_submitted(desk, capsys):
    what = ["seed=9,1", "tags=['${now:%f}']"]
    blocker = desk.cluster.say("sbatch", "--parsable", "--exclusive", "-N2", "-o", "/dev/null", "--wrap", "sleep 600")
    try:
        out, _ = desk.sweep(*what, "hydra.launcher.wait=false")
        assert "tinv status " in out and f"{desk.outputs.name}\n" in out
        assert column(desk.outputs, "status") == ["queued", "queued"]
        again = desk.start(*what, f"sweep.resume={desk.outputs}")
        assert again.stdout is not None
        told = "".join(again.stdout.readline() for _ in range(2))
        assert told.count("already") == 2, "the jobs are waited for, not submitted a second time"
        stub = Path(desk.script)
        stub.write_text(stub.read_text().replace('CONSTANT = "submitted"', 'CONSTANT = "edited"'))
    finally:
        desk.cluster.say("scancel", blocker)
    (desk.outputs / "go").touch()
    out, err = again.communicate(timeout=2 * PATIENCE_S)
    assert again.returncode == 0, out + err
    assert [desk.seen(point)["constant"] for point in (0, 1)] == ["submitted"] * 2
    assert str(desk.outputs / "source") in desk.seen(0)["file"]
    assert tinv(["status", str(desk.outputs)]) == 0
    assert "2 done" in capsys.readouterr().out


def test_jobs_outlive_the_command_that_submitted_them(desk):
    run = desk.start("seed=9")
    until(lambda: (desk.folder / "outputs").exists() and list(desk.outputs.glob("0/status.json")))
    until(lambda: json.loads((desk.outputs / "0" / "status.json").read_text())["status"] == "running")
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 130
    assert "The jobs go on" in out and "scancel" in out
    (desk.outputs / "go").touch()
    until(lambda: json.loads((desk.outputs / "0" / "status.json").read_text())["status"] == "done")
    desk.sweep(f"sweep.resume={desk.outputs}", "seed=9")
    assert column(desk.outputs, "status") == ["done"]


def test_a_search_asks_for_points_as_there_is_room(desk):
    pytest.importorskip("optuna")
    desk.sweep(
        *["hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "seed=range(10,20)", "hydra.launcher.array_parallelism=2"]
    )
    assert column(desk.outputs, "status") == ["done"] * 4
    scripts = sorted(path.name for path in (desk.outputs / "slurm").iterdir())
    assert scripts[0] == "points_0-1.sh" and len(scripts) > 1
    assert len(list((desk.outputs / "source").iterdir())) == 1


def test_what_contradicts_itself_is_refused_before_anything_is_queued(desk):
    _, err = desk.sweep("seed=1", "hydra.launcher.tasks_per_node=2", "hydra.launcher.gpus_per_node=4", code=1)
    assert "set hydra.launcher.tasks_per_node=1 or trainer.devices=2" in err
    assert not desk.cluster.say("squeue", "-h", "--me")
