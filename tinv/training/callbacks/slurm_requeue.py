"""Saves the run and requeues its Slurm job when Slurm asks the job to end.

The process does not exit by itself after the signal, because Slurm would consider an exited job complete.
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
from tinv.runs.slurm_job import TERMINATE, TIME_LIMIT_NEAR, SlurmJob, current_job, install_handlers, received_signal
from tinv.training.callbacks.checkpoints import Checkpoints
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.loggers.csv_logger import csv_loggers

RETRY_S = 10.0
"""Seconds to wait after Slurm has refused to requeue the job."""
POLL_S = 1.0
_PRIORITY = {None: 0, TIME_LIMIT_NEAR: 1, TERMINATE: 2}


class SlurmRequeue(Callback):
    """Handles SIGUSR2 (the time limit is near) and SIGTERM (preemption); does nothing outside of a batch job.

    After each optimizer step all processes check for a signal together, so that they save the same step. The job is
    requeued before the next step, when the loggers have received the metrics of this one.
    """

    def __init__(self, dir: Path | str):
        self.run_dir, self.job = Path(dir), current_job()
        self._every = EveryNSteps(1, setting="callbacks.slurm_requeue")
        self._priority = 0

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Replaces Lightning's signal handlers, which save inside a handler or end the run as finished."""
        if self.job:
            trainer._signal_connector.register_signal_handlers = install_handlers  # type: ignore[method-assign]

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._every.reset(trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Saves after a signal, unless the run is complete."""
        if self.job and self._every.is_due(trainer.global_step) and trainer.global_step < trainer.max_steps:
            self._priority = self._highest_priority(trainer)
            if self._priority:
                for callback in trainer.callbacks:  # type: ignore[attr-defined]
                    if isinstance(callback, Checkpoints):
                        callback.save(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Requeues the job between two steps."""
        if self._priority:
            self._leave(trainer, f"saved at step {trainer.global_step}")

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Requeues the job if SIGTERM, which reaches every process, has ended one that the run needs."""
        is_failure = isinstance(exception, Exception) and not isinstance(exception, UserError)
        if self.job and received_signal() == TERMINATE and is_failure:
            self._leave(trainer, f"{type(exception).__name__} after SIGTERMINATE: {exception}")

    def _highest_priority(self, trainer: Trainer) -> int:
        """Returns the priority of the most urgent signal that any process has received, 0 if none."""
        priority = _PRIORITY[received_signal()]
        if trainer.world_size > 1:
            own = torch.tensor(priority, device=trainer.strategy.root_device)
            priority = int(trainer.strategy.reduce(own, reduce_op="max"))
        return priority

    def _leave(self, trainer: Trainer, state: str) -> NoReturn:
        """Requeues the job unless it was canceled, then waits for Slurm to end it."""
        assert self.job is not None
        is_near_the_end = self._priority == _PRIORITY[TIME_LIMIT_NEAR]
        if trainer.is_global_zero:
            for logger in csv_loggers(trainer):
                logger.flush()
            if is_near_the_end:
                _finish_wandb()
            reason = "the time limit was near" if is_near_the_end else "the job was preempted"
            self._requeue(self.job, f"{reason}; {state}")
        while received_signal() != TERMINATE or self.job.state() in ("RUNNING", ""):
            time.sleep(POLL_S)
        os._exit(128 + TERMINATE)  # Slurm ends the job now, so nothing depends on a clean exit

    def _requeue(self, job: SlurmJob, reason: str) -> None:
        """Retries until Slurm accepts the request or ends the job for another reason."""
        while received_signal() != TERMINATE or job.state() in ("RUNNING", ""):
            set_status(self.run_dir, "requeued", reason)  # first, because Slurm may end the job at once
            print(f"requeued: {reason}", flush=True)
            try:
                job.requeue()
                return
            except UserError as error:
                set_status(self.run_dir, "interrupted", f"{reason}, and the job could not be requeued ({error})")
                print(f"the job could not be requeued ({error})", file=sys.stderr, flush=True)
            time.sleep(RETRY_S)
        set_status(self.run_dir, "interrupted", "ended by Slurm")


def _finish_wandb() -> None:
    """Finishes the W&B run before the requeue, whose SIGTERM also ends W&B's own process and its unsent data."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.run.mark_preempting()
        wandb.finish(exit_code=255)
