"""A batch job of Slurm's that is asked to end saves its run and goes back into the queue.

It never ends by itself when asked to: Slurm takes a job that has ended for one that has finished.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import torch
from lightning.pytorch import Callback, Trainer

from tinv.errors import UserError
from tinv.runs.record_status import set_status
from tinv.runs.slurm_job import SlurmJob, current_job
from tinv.runs.slurm_signals import TERMINATE, TIME_LIMIT_NEAR, install_handlers, received_signal
from tinv.training.callbacks.checkpoints import Checkpoints, tables
from tinv.training.callbacks.every_n_steps import EveryNSteps

PATIENCE_S = 10.0
"""How long to wait after Slurm has refused, before it is asked again."""
TICK_S = 1.0


class SlurmRequeue(Callback):
    """Does nothing outside of a batch job.

    What is asked for is looked at after each optimizer step, by all processes together, so that all of them save the
    same step. The job is then given back before the next one, when the loggers have had the numbers of this one.
    """

    def __init__(self, dir: Path | str):
        """Args:
        dir: the run's folder.
        """
        self.run_dir, self.job = Path(dir), current_job()
        self._every = EveryNSteps(1, setting="callbacks.slurm_requeue")
        self._asked = 0

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Lightning would handle both signals in ways of its own: save inside a handler, or end the run as finished."""
        if self.job:
            trainer._signal_connector.register_signal_handlers = install_handlers  # type: ignore[method-assign]

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Steps count from here."""
        self._every.begin(trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Save, if it was asked for; a run that has made its last step is as good as over."""
        if self.job and self._every.due(trainer.global_step) and trainer.global_step < trainer.max_steps:
            self._asked = self._agreed(trainer)
            if self._asked:
                for callback in trainer.callbacks:  # type: ignore[attr-defined]
                    if isinstance(callback, Checkpoints):
                        callback.save(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Between two steps: nothing is under way."""
        if self._asked:
            self._give_back(trainer, f"saved at step {trainer.global_step}")

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """SIGTERM reaches every process of the job, those of loggers too: what breaks for that reason is no failure."""
        if (
            self.job
            and received_signal() == TERMINATE
            and isinstance(exception, Exception)
            and not isinstance(exception, UserError)
        ):
            self._give_back(trainer, f"{type(exception).__name__} after SIGTERM: {exception}")

    def _agreed(self, trainer: Trainer) -> int:
        """What any of the processes was asked for; SIGTERM counts most."""
        asked = _URGENCY[received_signal()]
        if trainer.world_size > 1:
            told = torch.tensor(asked, device=trainer.strategy.root_device)
            asked = int(trainer.strategy.reduce(told, reduce_op="max"))
        return asked

    def _give_back(self, trainer: Trainer, state: str) -> NoReturn:
        """Have the job requeued, unless it was cancelled; then wait for Slurm to end it."""
        assert self.job is not None
        is_near_the_end = self._asked == _URGENCY[TIME_LIMIT_NEAR]
        if trainer.is_global_zero:
            for table in tables(trainer):
                table.flush()
            if is_near_the_end:
                _close_wandb()
            why = "the time limit was near" if is_near_the_end else "another job needed its place"
            self._requeue(self.job, f"{why}; {state}")
        while received_signal() != TERMINATE or self.job.state() in ("RUNNING", ""):
            time.sleep(TICK_S)
        os._exit(128 + TERMINATE)  # Slurm has made up its mind: nothing depends on this process any more

    def _requeue(self, job: SlurmJob, why: str) -> None:
        """Ask until Slurm agrees, or until it turns out that it has other plans."""
        while received_signal() != TERMINATE or job.state() in ("RUNNING", ""):
            set_status(self.run_dir, "requeued", why)  # before: there may be no time afterwards
            print(f"back into the queue: {why}", flush=True)
            try:
                job.requeue()
                return
            except UserError as error:
                set_status(self.run_dir, "interrupted", f"{why}, and the job could not be requeued ({error})")
                print(f"the job could not be requeued ({error})", file=sys.stderr, flush=True)
            time.sleep(PATIENCE_S)
        set_status(self.run_dir, "interrupted", "ended by Slurm")


_URGENCY = {None: 0, TIME_LIMIT_NEAR: 1, TERMINATE: 2}


def _close_wandb() -> None:
    """Before the requeue, whose SIGTERM reaches W&B's own process, too; the numbers it holds would be lost."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.run.mark_preempting()
        wandb.finish(exit_code=255)
