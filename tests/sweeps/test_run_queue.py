"""Jobs run in order in processes of their own, fail, wait again and go on; signals leave the queue as it was."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sweeps.tiny_runs import TINY, write_tiny
from tinv.cli import main as tinv
from tinv.errors import UserError
from tinv.runs.reader import RunReader
from tinv.sweeps.job_queue import JobQueue
from tinv.sweeps.run_queue import run_queue
from tinv.training.check_command import check_job
from tinv.training.main import register

ROOT = Path(__file__).resolve().parents[2]
RUN = [*TINY, "data.val_draws=2", "trainer=cpu", "trainer.max_steps=4", "~callbacks.samples", "monitor=null"]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A working folder with a model and images."""
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    register()
    return tmp_path


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["data.foldr=x"], "data.foldr"),
        (["data.folder=missing"], "missing"),
        (["concept.placeholder_token=cat"], "concept.placeholder_token"),
        (["trainer.max_steps=0"], "trainer.max_steps=0"),
        (["resume=latest"], "resume=latest"),
        (["optimizer.lr=1e-3,x"], "optimizer.lr"),
        (["hydra.run.dir=x"], "the queue chooses the folder"),
        (["sweep.dry_run=true", "seed=0,1"], "dry_run"),
    ],
)
def test_a_command_with_a_mistake_is_not_added(workspace, overrides, problem):
    is_sweep = any("," in text for text in overrides)
    with pytest.raises(UserError, match=problem):
        check_job([*RUN, *overrides], multirun=is_sweep)


@pytest.mark.slow
def test_a_queue_runs_in_order_and_goes_on_after_a_failure(workspace, capfd):
    queue = JobQueue("outputs")
    for name, more in {"a": [], "b": [], "sweep": ["seed=0,1"]}.items():
        queue.add(check_job([*RUN, f"name={name}", *more], multirun=name == "sweep"))
    (images := workspace / "images").rename(workspace / "elsewhere")
    queue.move("3", 1)
    os.mkdir(images)
    for path in (workspace / "elsewhere").iterdir():
        path.rename(images / path.name)
    with queue.change() as state:
        state.find("1").overrides.append("trainer.accelerator=cuda")
    run_queue(queue, devices=[], n_jobs=1)
    sweep, failed, done = queue.read().jobs
    assert [job.state for job in (sweep, failed, done)] == ["done", "failed", "done"], capfd.readouterr()
    assert "cuda" in failed.reason and sweep.ended_at <= failed.started_at <= done.started_at
    assert RunReader(done.folder).status.status == "done"
    assert {RunReader(Path(sweep.folder) / str(i)).status.status for i in range(2)} == {"done"}
    with queue.change() as state:
        state.find("1").overrides.pop()
    assert [job.id for job in queue.retry()] == ["1"]
    run_queue(queue, devices=[], n_jobs=2)
    job = queue.read().find("1")
    assert (job.state, job.attempts, job.folder) == ("done", 2, failed.folder)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGKILL", 9)])
def test_after_a_signal_the_job_waits_and_goes_on_from_its_checkpoint(workspace, number):
    queue = JobQueue("outputs")
    queue.add(check_job([*RUN, "name=long", "trainer.max_steps=100000", "callbacks.checkpoints.every_n_steps=5"]))
    command = [sys.executable, "-m", "tinv.cli", "queue", "run", "--n-jobs", "1"]
    process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_until(lambda: (job := queue.read().jobs[0]).folder and RunReader(job.folder).progress)
    wait_until(lambda: list(Path(queue.read().jobs[0].folder).glob("checkpoints/*.ckpt")))
    process.send_signal(number)
    output = process.communicate(timeout=120)[0]
    job = queue.read().jobs[0]
    if number in (signal.SIGINT, signal.SIGTERM):
        assert process.returncode == 128 + number and "wait again" in output and job.state == "waiting"
    wait_until(lambda: RunReader(job.folder).status.status == "interrupted")
    step = RunReader(job.folder).progress.step
    with queue.change() as state:
        state.jobs[0].overrides.append(f"trainer.max_steps={step + 3}")
    run_queue(queue, devices=[], n_jobs=1)
    again = queue.read().jobs[0]
    assert (again.state, again.folder, again.attempts) == ("done", job.folder, 2)
    assert RunReader(job.folder).status.restarts == 1 and RunReader(job.folder).progress.step == step + 3


@pytest.mark.slow
def test_a_paused_queue_starts_nothing_and_two_runners_run_each_job_once(workspace, capfd):
    queue = JobQueue("outputs")
    queue.set_paused(True)
    for name in "ab":
        assert tinv(["queue", "add", *RUN, f"name={name}"]) == 0
    run_queue(queue, devices=[], n_jobs=1)
    assert {job.state for job in queue.read().jobs} == {"waiting"} and "is paused" in capfd.readouterr().out
    queue.set_paused(False)
    command = [sys.executable, "-m", "tinv.cli", "queue", "run", "--n-jobs", "1"]
    assert [process.wait() for process in [subprocess.Popen(command) for _ in range(2)]] == [0, 0]
    assert [(job.state, job.attempts) for job in queue.read().jobs] == [("done", 1)] * 2
    assert len(list(workspace.glob("outputs/[ab]/*"))) == 2


def wait_until(condition, timeout_s=120):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
