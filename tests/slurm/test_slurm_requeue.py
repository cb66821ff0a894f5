"""Whatever Slurm does to a run, it ends where it would have ended, and makes no step twice that was not lost."""

import json
import os
import signal

import pytest
import torch

from tests.slurm.jobs import ON_TWO_NODES, STEPS, BatchJob, Place, learned, numbers, until
from tinv.runs.layout import checkpoint_step, list_checkpoints

ONCE = list(range(1, STEPS + 1))


def is_as_unbroken(job: BatchJob, unbroken: BatchJob) -> bool:
    """Whether a job learned the same to the last bit, and wrote down the same numbers."""
    return torch.equal(learned(job.run), learned(unbroken.run)) and numbers(job.run) == numbers(unbroken.run)


def status(job: BatchJob) -> dict[str, object]:
    told: dict[str, object] = json.loads((job.run / "status.json").read_text())
    return told


def test_a_run_goes_on_with_the_next_step_after_the_signal_that_its_time_is_up(place, unbroken):
    job = place.sbatch(settings=[])
    job.until_step(12)
    place.say("scancel", "--signal=USR2", job.id)
    job.end()
    assert job.steps() == ONCE and set(job.restarts()) == {0, 1}
    assert is_as_unbroken(job, unbroken)
    assert (status(job)["status"], status(job)["restarts"]) == ("done", 1)


def test_a_run_is_requeued_before_its_time_limit(place, unbroken):
    job = place.sbatch("--signal=USR2@90", settings=["callbacks.trace.seconds=3"])
    job.until_step(1)
    elapsed = place.say("squeue", "-h", "-j", job.id, "-o", "%M").split(":")
    place.say("scontrol", "update", f"jobid={job.id}", f"timelimit={int(elapsed[-2]) + 2}")
    until(lambda: status(job)["status"] == "requeued", explain=job.said)
    assert "the time limit was near" in str(status(job)["reason"])
    until(lambda: job.state() == "PENDING", explain=job.said)
    place.say("scontrol", "update", f"jobid={job.id}", "timelimit=10")
    job.end()
    assert job.steps() == ONCE and set(job.restarts()) == {0, 1}
    assert is_as_unbroken(job, unbroken)


def test_a_run_gives_way_to_a_job_of_a_better_partition_and_goes_on(place, unbroken):
    job = place.sbatch("--partition=low", settings=[])
    job.until_step(12)
    node = f"--nodelist=node{job.node()}"
    other = place.say(
        "sbatch", "--parsable", "--partition=high", "--exclusive", node, "--output=/dev/null", "--wrap=sleep 1"
    )
    job.end()
    assert BatchJob(place, other).state() == "COMPLETED"
    assert job.steps() == ONCE and set(job.restarts()) == {0, 1}
    assert is_as_unbroken(job, unbroken)
    assert "another job needed its place; saved at step" in job.said()


def test_a_cancelled_run_is_saved_and_stays_cancelled(place):
    job = place.sbatch(settings=[])
    job.until_step(12)
    place.say("scancel", job.id)
    job.until_state("CANCELLED")
    assert checkpoint_step(list_checkpoints(job.run)[0]) == job.steps()[-1] >= 12
    assert (status(job)["status"], status(job)["reason"]) == ("interrupted", "ended by Slurm")
    assert set(job.restarts()) == {0}


def test_a_run_whose_node_is_lost_goes_on_from_its_last_checkpoint(place, unbroken):
    job = place.sbatch(settings=[])
    job.until_step(14)
    node = job.node()
    place.cluster.lose(node)
    try:
        job.end()
    finally:
        place.cluster.bring_back(node)
    steps = job.steps()
    lost_at = steps[job.restarts().count(0) - 1]
    assert steps == [*range(1, lost_at + 1), *range(10 * (lost_at // 10) + 1, STEPS + 1)]
    assert is_as_unbroken(job, unbroken)


def test_a_run_whose_process_is_killed_fails_and_can_be_gone_on_with(place, unbroken):
    job = place.sbatch(settings=[])
    job.until_step(14)
    os.kill(job.pid(), signal.SIGKILL)
    assert job.until_state("COMPLETED", "FAILED") == "FAILED"
    again = place.sbatch(f"--export=ALL,RUN={job.run}", settings=[])
    BatchJob(place, again.id, job.run).end()
    assert is_as_unbroken(job, unbroken)


@pytest.fixture(scope="module")
def unbroken_pair(place: Place) -> BatchJob:
    job = place.sbatch("--nodes=2", settings=[*ON_TWO_NODES, "callbacks.trace.seconds=0"])
    job.end()
    return job


@pytest.mark.parametrize("number", ["USR2", "TERM"])
def test_two_nodes_save_the_same_step_and_go_on_together(place, unbroken_pair, number):
    job = place.sbatch("--nodes=2", settings=ON_TWO_NODES)
    job.until_step(12)
    place.say("scancel", f"--signal={number}", job.id)
    job.end()
    assert job.steps(0) == job.steps(1) == ONCE and set(job.restarts()) == {0, 1}
    assert is_as_unbroken(job, unbroken_pair)
