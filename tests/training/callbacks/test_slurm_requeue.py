"""SlurmRequeue saves and requeues a run once, and it resumes bit for bit. Two scripts stand in for Slurm."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from tests.training.callbacks.fitting import fit, vectors
from tinv.models import LatentDiffusion
from tinv.runs import slurm_job as signals
from tinv.runs.layout import checkpoint_step, list_checkpoints
from tinv.runs.reader import RunReader
from tinv.runs.record_status import write_status
from tinv.runs.status import Status
from tinv.training.callbacks import Checkpoints, SlurmRequeue
from tinv.training.loggers.csv_logger import CSVLogger

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
SCONTROL = '#!/bin/bash\necho "$@" >> "$SCRIPTS/requeued"; echo COMPLETING > "$SCRIPTS/state"; kill -TERM $PPID\n'
SQUEUE = '#!/bin/bash\ncat "$SCRIPTS/state"\n'


class Send(Callback):
    """Sends a signal to the process in the middle of a step."""

    def __init__(self, number: signal.Signals, during_step: int):
        self.number, self.during_step = number, during_step

    def on_before_optimizer_step(self, trainer, *_):
        if trainer.global_step + 1 == self.during_step:
            os.kill(os.getpid(), self.number)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A batch job; returns a function that lists the calls of scontrol."""
    handlers = {number: signal.getsignal(number) for number in (signals.TERMINATE, signals.TIME_LIMIT_NEAR)}
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "state").write_text("RUNNING\n")
    for name, text in (("scontrol", SCONTROL), ("squeue", SQUEUE)):
        (scripts / name).write_text(text)
        (scripts / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(scripts), prepend=os.pathsep)
    for name, value in {"SCRIPTS": str(scripts), "SLURM_JOB_ID": "7", "ENVIRONMENT": "BATCH"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tinv.training.callbacks.slurm_requeue.os._exit", sys.exit)
    monkeypatch.setattr("tinv.training.callbacks.slurm_requeue.POLL_S", 0.01)
    yield lambda: (scripts / "requeued").read_text().splitlines() if (scripts / "requeued").exists() else []
    signals._received.clear()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def run_steps(run: Path, model: LatentDiffusion, *more: Callback, accumulate: int = 1):
    """Trains nine steps, from the newest checkpoint in the folder."""
    signals._received.clear()
    callbacks, saved = [*more, Checkpoints(run, every_n_steps=4), SlurmRequeue(run)], list_checkpoints(run)
    options = {"max_steps": 9, "accumulate": accumulate, "resume": saved[0] if saved else None}
    return fit(run, model, callbacks, loggers=[CSVLogger(run)], **options)


@pytest.fixture(scope="module")
def uninterrupted(model, tmp_path_factory):
    """Runs without a signal and their folders, by accumulation."""
    folders = {accumulate: tmp_path_factory.mktemp("uninterrupted") for accumulate in (1, 2)}
    return {accumulate: (run_steps(run, model, accumulate=accumulate), run) for accumulate, run in folders.items()}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("number", [signals.TIME_LIMIT_NEAR, signals.TERMINATE])
@pytest.mark.parametrize("step", [1, 3, 4, 8])  # 4 and 8 are saved and validated in any case
def test_the_step_is_saved_and_the_job_requeued_once(tmp_path, model, uninterrupted, slurm, number, step, accumulate):
    expected, folder = uninterrupted[accumulate]
    run = tmp_path / "run"
    write_status(run, Status(started="2026-11-22T20:00:00Z"))
    with pytest.raises(SystemExit):
        run_steps(run, model, Send(number, during_step=step), accumulate=accumulate)
    assert (slurm(), checkpoint_step(list_checkpoints(run)[0])) == (["requeue 7"], step)
    status = RunReader(run).status
    assert status.status == "requeued" and f"saved at step {step}" in status.reason
    (tmp_path / "scripts" / "state").write_text("RUNNING\n")
    assert torch.equal(vectors(run_steps(run, model, accumulate=accumulate)), vectors(expected))
    assert (run / "metrics.csv").read_text() == (folder / "metrics.csv").read_text()


def test_a_canceled_job_is_saved_and_not_requeued(tmp_path, model, slurm):
    (tmp_path / "scripts" / "state").write_text("COMPLETING\n")
    with pytest.raises(SystemExit):
        run_steps(tmp_path, model, Send(signals.TERMINATE, during_step=3))
    assert (slurm(), checkpoint_step(list_checkpoints(tmp_path)[0])) == ([], 3)
    assert (RunReader(tmp_path).status.status, RunReader(tmp_path).status.reason) == ("interrupted", "ended by Slurm")


def test_a_run_in_its_last_step_ends_normally(tmp_path, model, slurm):
    assert run_steps(tmp_path, model, Send(signals.TERMINATE, during_step=9)).global_step == 9
    assert slurm() == []


def test_outside_of_a_job_no_signal_is_handled(tmp_path, model, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    before = signal.getsignal(signals.TIME_LIMIT_NEAR)
    fit(tmp_path, model, [Checkpoints(tmp_path), SlurmRequeue(tmp_path)], max_steps=2)
    assert signal.getsignal(signals.TIME_LIMIT_NEAR) == before and signals.received_signal() is None


def test_an_error_caused_by_the_signal_is_no_failure(tmp_path, model, slurm):
    class Broken(Callback):
        def on_train_batch_end(self, *_):
            os.kill(os.getpid(), signals.TERMINATE)
            raise ConnectionResetError("the logger's process is gone")

    with pytest.raises(SystemExit):
        run_steps(tmp_path, model, Broken())
    assert slurm() == ["requeue 7"] and "ConnectionResetError after SIGTERM" in RunReader(tmp_path).status.reason
