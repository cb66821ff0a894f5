"""The queue keeps its jobs in order in a file that several processes change at once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tinv.cli import main as tinv
from tinv.errors import UserError
from tinv.runs.files import write_json
from tinv.runs.layout import checkpoint_path
from tinv.runs.record_status import write_status
from tinv.runs.status import Status
from tinv.sweeps.job_queue import Job, JobQueue
from tinv.sweeps.queue_table import list_cluster_runs
from tinv.sweeps.run_queue import job_command


def make_job(name: str = "mug", **values: object) -> Job:
    settings = {"overrides": [f"name={name}"], "config_dir": None, "is_sweep": False, "root_dir": "outputs", "cwd": "."}
    return Job(id="", name=name, **settings | values)


@pytest.fixture
def queue(tmp_path):
    queue = JobQueue(tmp_path / "outputs")
    for name in "abcd":
        queue.add(make_job(name))
    return queue


def names(queue: JobQueue) -> str:
    return "".join(job.name for job in queue.read().jobs)


def test_a_queue_is_empty_before_the_first_job(tmp_path):
    assert JobQueue(tmp_path).read().jobs == [] and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("id", "position", "order"), [("4", 1, "dabc"), ("1", 4, "bcda"), ("2", 2, "abcd")])
def test_a_job_is_moved(queue, id, position, order):
    queue.move(id, position)
    assert names(queue) == order


def test_a_number_is_not_used_again(queue):
    queue.remove(["4", "1"])
    assert names(queue) == "bc" and queue.add(make_job()).id == "5"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda queue: queue.remove(["9"]), "no job with this number. It has 1, 2, 3, 4"),
        (lambda queue: queue.move("1", 5), "positions 1 to 4"),
        (lambda queue: queue.move("1", 0), "positions 1 to 4"),
        (lambda queue: queue.retry(["1"]), "the job is waiting"),
    ],
)
def test_a_wrong_change_changes_nothing(queue, change, problem):
    before = (queue.folder / "queue.json").read_bytes()
    with pytest.raises(UserError, match=problem):
        change(queue)
    assert (queue.folder / "queue.json").read_bytes() == before


def test_a_job_that_runs_is_not_removed_and_one_that_failed_waits_again(queue):
    with queue.change() as state:
        state.jobs[0].state, state.jobs[0].folder = "running", "outputs/a/1"
        state.jobs[1].state, state.jobs[1].reason = "failed", "out of memory"
    with pytest.raises(UserError, match="tinv tell outputs/a/1 stop"):
        queue.remove(["1"])
    assert [job.id for job in queue.retry()] == ["2"] and queue.read().jobs[1].state == "waiting"


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"jobs": [{}]}', b'{"jobs": 3}', b"\xff", b"[" * 100_000])
def test_a_damaged_file_is_an_error_that_is_not_overwritten(queue, content, capsys):
    path = queue.folder / "queue.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        queue.add(make_job())
    assert path.read_bytes() == content
    assert tinv(["queue", "list", "--outputs", str(queue.root_dir)]) == 1
    assert "is damaged" in capsys.readouterr().err


def test_processes_that_add_at_once_lose_no_job(tmp_path):
    code = (
        "import sys; from tests.sweeps.test_job_queue import make_job; from tinv.sweeps.job_queue import JobQueue\n"
        "for i in range(20): JobQueue(sys.argv[1]).add(make_job(sys.argv[2]))"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen([*command, name], cwd=root) for name in "abc"]
    assert [process.wait() for process in processes] == [0, 0, 0]
    jobs = JobQueue(tmp_path).read().jobs
    assert sorted(job.name for job in jobs) == [*"a" * 20, *"b" * 20, *"c" * 20]
    assert [int(job.id) for job in jobs] == [*range(1, 61)]


def test_a_job_that_has_begun_goes_on_from_its_checkpoint(tmp_path):
    job = make_job(folder=str(tmp_path), attempts=1, overrides=["name=mug", "resume=latest"])
    checkpoint_path(tmp_path, 5).parent.mkdir()
    checkpoint_path(tmp_path, 5).touch()
    assert "resume=latest" in job_command(job) and "resume=auto" not in job_command(job)
    job.attempts = 2
    assert job_command(job)[3:] == ["name=mug", f"hydra.run.dir='{tmp_path.as_posix()}'", "resume=auto"]
    sweep = make_job(folder=str(tmp_path), is_sweep=True, config_dir="mine")
    assert job_command(sweep)[3:] == ["-m", "--config-dir=mine", "name=mug", f"hydra.sweep.dir='{tmp_path.as_posix()}'"]
    write_json(tmp_path / "plan.json", {})
    assert job_command(sweep)[-1] == f"sweep.resume='{tmp_path.as_posix()}'"


def test_the_list_has_the_jobs_their_reasons_and_what_slurm_runs(queue, capsys):
    sweep = queue.root_dir / "study/2026-11-30_01-00-00"
    write_json(sweep / "plan.json", {"points": [{"point": i} for i in range(3)]})
    for i, state in enumerate(("running", "queued", "done")):
        write_status(sweep / str(i), Status(state, job=f"12_{i}"))
    with queue.change() as state:
        state.is_paused, state.jobs[1].state, state.jobs[1].reason = True, "failed", "out of memory"
    assert [(run["job"], run["state"]) for run in list_cluster_runs(queue.root_dir)] == [
        ("12_0", "running"),
        ("12_1", "queued"),
    ]
    assert tinv(["queue", "list", "--outputs", str(queue.root_dir)]) == 0
    output = capsys.readouterr().out
    assert all(text in output for text in ("2: out of memory", "paused", "12_0", "name=d"))
    assert tinv(["queue", "list", "--json", "--outputs", str(queue.root_dir)]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [job["name"] for job in records["jobs"]] == [*"abcd"] and records["is_paused"]


def test_the_commands_change_the_queue(queue, capsys):
    outputs = ["--outputs", str(queue.root_dir)]
    assert tinv(["queue", "move", "4", "1", *outputs]) == tinv(["queue", "remove", "2", "3", *outputs]) == 0
    assert tinv(["queue", "pause", *outputs]) == 0 and queue.read().is_paused
    assert tinv(["queue", "pause", "--off", *outputs]) == 0 and not queue.read().is_paused
    assert tinv(["queue", "retry", *outputs]) == 0 and names(queue) == "da"
    assert capsys.readouterr().out == "waiting again: none\n"
