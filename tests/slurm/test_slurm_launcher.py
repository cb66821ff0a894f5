"""Sweeps with hydra/launcher=slurm, with runs that do not import torch."""

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
from tests.sweeps.outputs import column, sweep_dir
from tinv.cli import main as tinv

STUB = Path(__file__).with_name("stub.py")
LAUNCHER = ["hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=0.5"]
LAUNCHER += ["hydra.launcher.timeout_min=10", "hydra.launcher.poll_s=0.5"]
CAT = "+experiment=cat_toy"


@pytest.fixture
def submission(cluster: Cluster, tmp_path: Path) -> "Submission":
    return Submission(cluster, tmp_path)


class Submission:
    """Starts sweeps in a folder."""

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
        return sweep_dir(self.folder)

    def seen(self, point: int) -> dict[str, str]:
        lines: dict[str, str] = json.loads((self.outputs / str(point) / "seen.json").read_text())
        return lines


def test_every_point_is_a_task_of_one_job_array_and_a_killed_point_has_failed(submission):
    out, err = submission.sweep("seed=0,1,2,3,4", code=1)
    assert column(submission.outputs, "status") == ["done", "done", "failed", "failed", "failed"]
    assert column(submission.outputs, "val/loss") == ["0.0", "0.1", "", "", ""]
    reasons = column(submission.outputs, "reason")
    assert reasons[2] == "seed 2 is unlucky"
    assert "ended as FAILED and left no result" in reasons[3]
    assert "ended as COMPLETED and left no result" in reasons[4]
    assert "seed 2 is unlucky" in (submission.outputs / "2" / "log.txt").read_text()
    jobs = re.findall(r"is job (\d+)_\d: ", out)
    assert len(jobs) == 5 and len(set(jobs)) == 1
    assert "3 of 5 points failed" in err and "Traceback" not in err


def test_a_canceled_point_has_failed_on_a_cluster_without_accounting(submission):
    run = submission.start("seed=9,1")
    until(lambda: (submission.folder / "outputs").exists() and list(submission.outputs.glob("0/status.json")))
    until(lambda: json.loads((submission.outputs / "0" / "status.json").read_text())["status"] == "running")
    job = json.loads((submission.outputs / "0" / "status.json").read_text())["job"]
    submission.cluster.run_command("scancel", "--signal=KILL", "--full", job)
    submission.cluster.run_command("scancel", job)
    _, err = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 1
    assert column(submission.outputs, "status") == ["failed", "done"]
    assert f"job {job} ended as" in err


@pytest.mark.parametrize(
    ("override", "remedy"),
    [
        ("hydra.launcher.timeout_min=1000", "change hydra.launcher.timeout_min"),
        ("hydra.launcher.partition=nowhere", "change hydra.launcher.partition"),
        (
            "hydra.launcher.mem_gb=1000",
            "mem_gb",
        ),  # "memory" or "node configuration", depending on which check of Slurm comes first
        ("hydra.launcher.cpus_per_task=64", "change hydra.launcher.cpus_per_task"),
        ("hydra.launcher.options={licenses: dongle}", "icense"),
    ],
)
def test_an_error_of_sbatch_names_the_setting_to_change(submission, override, remedy):
    _, err = submission.sweep("seed=0", override, code=1)
    assert "sbatch: " in err and remedy in err
    assert "Traceback" not in err


def test_without_wait_the_command_returns_at_once_and_the_jobs_run_the_submitted_code(submission, capsys):
    overrides = ["seed=9,1", "tags=['${now:%f}']"]
    blocker = submission.cluster.run_command(
        "sbatch", "--parsable", "--exclusive", "-N2", "-o", "/dev/null", "--wrap", "sleep 600"
    )
    try:
        out, _ = submission.sweep(*overrides, "hydra.launcher.wait=false")
        assert "tinv status " in out and f"{submission.outputs.name}\n" in out
        assert column(submission.outputs, "status") == ["queued", "queued"]
        again = submission.start(*overrides, f"sweep.resume={submission.outputs}")
        assert again.stdout is not None
        lines = "".join(again.stdout.readline() for _ in range(2))
        assert lines.count("already") == 2, "the command waits for the jobs and does not submit them again"
        stub = Path(submission.script)
        stub.write_text(stub.read_text().replace('CONSTANT = "submitted"', 'CONSTANT = "edited"'))
    finally:
        submission.cluster.run_command("scancel", blocker)
    (submission.outputs / "go").touch()
    out, err = again.communicate(timeout=2 * PATIENCE_S)
    assert again.returncode == 0, out + err
    assert [submission.seen(point)["constant"] for point in (0, 1)] == ["submitted"] * 2
    assert str(submission.outputs / "source") in submission.seen(0)["file"]
    assert tinv(["status", str(submission.outputs)]) == 0
    assert "2 done" in capsys.readouterr().out


def test_jobs_continue_when_the_command_is_interrupted(submission):
    run = submission.start("seed=9")
    until(lambda: (submission.folder / "outputs").exists() and list(submission.outputs.glob("0/status.json")))
    until(lambda: json.loads((submission.outputs / "0" / "status.json").read_text())["status"] == "running")
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 130
    assert "The jobs go on" in out and "scancel" in out
    (submission.outputs / "go").touch()
    until(lambda: json.loads((submission.outputs / "0" / "status.json").read_text())["status"] == "done")
    submission.sweep(f"sweep.resume={submission.outputs}", "seed=9")
    assert column(submission.outputs, "status") == ["done"]


def test_a_search_submits_points_as_there_is_room(submission):
    pytest.importorskip("optuna")
    submission.sweep(
        *["hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "seed=range(10,20)", "hydra.launcher.array_parallelism=2"]
    )
    assert column(submission.outputs, "status") == ["done"] * 4
    scripts = sorted(path.name for path in (submission.outputs / "slurm").iterdir())
    assert scripts[0] == "points_0-1.sh" and len(scripts) > 1
    assert len(list((submission.outputs / "source").iterdir())) == 1


def test_contradicting_settings_are_an_error_before_a_job_is_submitted(submission):
    _, err = submission.sweep("seed=1", "hydra.launcher.tasks_per_node=2", "hydra.launcher.gpus_per_node=4", code=1)
    assert "set hydra.launcher.tasks_per_node=1 or trainer.devices=2" in err
    assert not submission.cluster.run_command("squeue", "-h", "--me")
