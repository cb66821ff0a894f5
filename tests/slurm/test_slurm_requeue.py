"""A run that Slurm interrupts learns the same as an uninterrupted run, and repeats only lost steps."""

import json
import os
import signal

import pytest
import torch

from tests.slurm.jobs import ON_TWO_NODES, STEPS, BatchJob, Workspace, learned_vectors, logged_metrics, until
from tinv.runs.layout import checkpoint_step, list_checkpoints

ONCE = list(range(1, STEPS + 1))


def is_same_as(job: BatchJob, uninterrupted: BatchJob) -> bool:
    """Whether the learned vectors of two jobs are bit-identical, and their logged metrics equal."""
    is_equal = torch.equal(learned_vectors(job.run), learned_vectors(uninterrupted.run))
    return is_equal and logged_metrics(job.run) == logged_metrics(uninterrupted.run)


def status(job: BatchJob) -> dict[str, object]:
    contents: dict[str, object] = json.loads((job.run / "status.json").read_text())
    return contents


def test_a_run_continues_with_the_next_step_after_the_time_limit_signal(workspace, uninterrupted):
    job = workspace.sbatch(settings=[])
    job.until_step(12)
    workspace.run_command("scancel", "--signal=USR2", job.id)
    job.end()
    assert job.steps() == ONCE and set(job.restarts()) == {0, 1}
    assert is_same_as(job, uninterrupted)
    assert (status(job)["status"], status(job)["restarts"]) == ("done", 1)


def test_a_run_is_requeued_before_its_time_limit(workspace, uninterrupted):
    job = workspace.sbatch("--signal=USR2@90", settings=["callbacks.trace.seconds=3"])
    job.until_step(1)
    elapsed = workspace.run_command("squeue", "-h", "-j", job.id, "-o", "%M").split(":")
    workspace.run_command("scontrol", "update", f"jobid={job.id}", f"timelimit={int(elapsed[-2]) + 2}")
    until(lambda: status(job)["status"] == "requeued", explain=job.output)
    assert "the time limit was near" in str(status(job)["reason"])
    until(lambda: job.state() == "PENDING", explain=job.output)
    workspace.run_command("scontrol", "update", f"jobid={job.id}", "timelimit=10")
    job.end()
    assert job.steps() == ONCE and set(job.restarts()) == {0, 1}
    assert is_same_as(job, uninterrupted)


def test_a_preempted_run_continues(workspace, uninterrupted):
    job = workspace.sbatch("--partition=low", settings=[])
    job.until_step(12)
    node = f"--nodelist=node{job.node()}"
    other = workspace.run_command(
        "sbatch", "--parsable", "--partition=high", "--exclusive", node, "--output=/dev/null", "--wrap=sleep 1"
    )
    job.end()
    assert BatchJob(workspace, other).state() == "COMPLETED"
    assert job.steps() == ONCE and set(job.restarts()) == {0, 1}
    assert is_same_as(job, uninterrupted)
    assert "the job was preempted; " in job.output()


def test_a_canceled_run_saves_a_checkpoint_and_is_not_requeued(workspace):
    job = workspace.sbatch(settings=[])
    job.until_step(12)
    workspace.run_command("scancel", job.id)
    job.until_state("CANCELLED")
    assert checkpoint_step(list_checkpoints(job.run)[0]) == job.steps()[-1] >= 12
    assert (status(job)["status"], status(job)["reason"]) == ("interrupted", "ended by Slurm")
    assert set(job.restarts()) == {0}


def test_a_run_whose_node_is_lost_continues_from_its_last_checkpoint(workspace, uninterrupted):
    job = workspace.sbatch(settings=[])
    job.until_step(14)
    node = job.node()
    workspace.cluster.power_off(node)
    try:
        job.end()
    finally:
        workspace.cluster.power_on(node)
    steps = job.steps()
    lost_at = steps[job.restarts().count(0) - 1]
    assert steps == [*range(1, lost_at + 1), *range(10 * (lost_at // 10) + 1, STEPS + 1)]
    assert is_same_as(job, uninterrupted)


def test_a_run_whose_process_is_killed_fails_and_can_be_resumed(workspace, uninterrupted):
    job = workspace.sbatch(settings=[])
    job.until_step(14)
    os.kill(job.pid(), signal.SIGKILL)
    assert job.until_state("COMPLETED", "FAILED") == "FAILED"
    again = workspace.sbatch(f"--export=ALL,RUN={job.run}", settings=[])
    BatchJob(workspace, again.id, job.run).end()
    assert is_same_as(job, uninterrupted)


@pytest.fixture(scope="module")
def uninterrupted_pair(workspace: Workspace) -> BatchJob:
    job = workspace.sbatch("--nodes=2", settings=[*ON_TWO_NODES, "callbacks.trace.seconds=0"])
    job.end()
    return job


@pytest.mark.parametrize("number", ["USR2", "TERM"])
def test_a_run_on_two_nodes_saves_the_same_step_on_both_and_continues(workspace, uninterrupted_pair, number):
    job = workspace.sbatch("--nodes=2", settings=ON_TWO_NODES)
    job.until_step(12)
    workspace.run_command("scancel", f"--signal={number}", job.id)
    job.end()
    assert job.steps(0) == job.steps(1) == ONCE and set(job.restarts()) == {0, 1}
    assert is_same_as(job, uninterrupted_pair)
