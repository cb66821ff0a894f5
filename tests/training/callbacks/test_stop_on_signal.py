"""StopOnSignal saves and ends a run between two steps, and it resumes bit for bit."""

import os
import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from tests.training.callbacks.fitting import fit, vectors
from tinv.errors import RunInterrupted
from tinv.models import LatentDiffusion
from tinv.runs import signals
from tinv.runs.layout import checkpoint_step, list_checkpoints
from tinv.runs.reader import RunReader
from tinv.training.callbacks import Checkpoints, ProgressFile, StopOnSignal
from tinv.training.loggers.csv_logger import CSVLogger

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


class Send(Callback):
    """Sends a signal to the process in a hook, once."""

    def __init__(self, number: signal.Signals, step: int, hook: str):
        self.number, self.step = number, step
        setattr(self, hook, self._send)

    def _send(self, trainer, *_, **__):
        if trainer.global_step >= self.step and self.number:
            number, self.number = self.number, None
            os.kill(os.getpid(), number)


def run_steps(run: Path, model: LatentDiffusion, *more: Callback):
    """Trains nine steps, from the newest checkpoint in the folder."""
    with signals.handle_signals():
        callbacks = [ProgressFile(run), *more, Checkpoints(run, every_n_steps=4), StopOnSignal()]
        resume = next(iter(list_checkpoints(run)), None)
        return fit(run, model, callbacks, loggers=[CSVLogger(run)], max_steps=9, resume=resume)


@pytest.fixture(scope="module")
def uninterrupted(model, tmp_path_factory):
    run = tmp_path_factory.mktemp("uninterrupted")
    return run_steps(run, model), run


@pytest.mark.parametrize(
    ("hook", "at", "saved"),
    [
        ("on_train_batch_start", 0, 1),
        ("on_before_optimizer_step", 2, 3),
        ("on_validation_start", 4, 4),
        ("on_validation_batch_end", 4, 4),
        ("on_train_batch_end", 8, 8),
        ("on_train_batch_start", 8, 9),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_between_two_steps_and_it_resumes_the_same(
    tmp_path, model, uninterrupted, number, hook, at, saved
):
    with pytest.raises(RunInterrupted) as error:
        run_steps(tmp_path, model, Send(number, at, hook))
    assert error.value.code == 128 + number
    saved = saved + 1 if "validation" in hook else saved  # the validation follows the step that was saved last
    assert checkpoint_step(list_checkpoints(tmp_path)[0]) == saved == RunReader(tmp_path).progress.step
    module, folder = uninterrupted
    assert torch.equal(vectors(run_steps(tmp_path, model)), vectors(module))
    assert (tmp_path / "metrics.csv").read_text() == (folder / "metrics.csv").read_text()


@pytest.mark.parametrize("hook", ["setup", "on_fit_end"])
def test_before_and_after_the_training_a_signal_ends_the_run_at_once(tmp_path, model, hook):
    with pytest.raises(RunInterrupted):
        run_steps(tmp_path, model, Send(signal.SIGTERM, 0, hook))


def test_outside_of_a_command_lightning_keeps_its_handlers(tmp_path, model):
    fit(tmp_path, model, [StopOnSignal()], max_steps=2)
    assert not signals.is_handling()
