"""Saves the run and requeues its Slurm job when Slurm asks the job to end.

The process does not exit by itself after the signal, because Slurm would consider an exited job complete.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch import Trainer

from tinv.errors import UserError
from tinv.runs.record_status import set_status
from tinv.runs.slurm_job import TERMINATE, TIME_LIMIT_NEAR, SlurmJob, current_job, install_handlers, received_signal
from tinv.training.callbacks.signal_callback import SignalCallback
from tinv.training.loggers.csv_logger import csv_loggers

RETRY_S = 10.0
"""Seconds to wait after Slurm has refused to requeue the job."""
POLL_S = 1.0
_PRIORITY = {None: 0, TIME_LIMIT_NEAR: 1, TERMINATE: 2}


class SlurmRequeue(SignalCallback):
    """Handles SIGUSR2 (the time limit is near) and SIGTERM (preemption); does nothing outside of a batch job."""

    def __init__(self, dir: Path | str):
        self.run_dir, self.job = Path(dir), current_job()
        super().__init__(is_active=self.job is not None, setting="callbacks.slurm_requeue")

    def install_handlers(self) -> None:
        """Installs the handlers that record both signals."""
        install_handlers()

    def received_priority(self) -> int:
        """Returns 2 for SIGTERM, 1 for SIGUSR2."""
        return _PRIORITY[received_signal()]

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Requeues the job if SIGTERM, which reaches every process, has ended one that the run needs."""
        is_failure = isinstance(exception, Exception) and not isinstance(exception, UserError)
        if self.job and received_signal() == TERMINATE and is_failure:
            self.leave(trainer, f"{type(exception).__name__} after SIGTERM: {exception}")

    def leave(self, trainer: Trainer, state: str) -> NoReturn:
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
