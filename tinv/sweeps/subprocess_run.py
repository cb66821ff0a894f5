"""Runs a point for which Lightning starts several processes in a process of its own.

Run inside the sweep's process, such a point would break the sweep. Lightning repeats the command line in each further
process, which would repeat the sweep (pytorch-lightning#11300). It leaves addresses in the environment that make the
next point wait for processes that have ended. When one of its processes fails, it ends the process that started them.
"""

import signal
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tinv.errors import RunInterrupted, UserError
from tinv.sweeps.child_process import ChildProcess, finalize_status, point_command, user_config_dir
from tinv.sweeps.results import COMPLETED


def needs_subprocess(cfg: DictConfig) -> bool:
    """Whether Lightning may start further processes for a run."""
    trainer = cfg.get("trainer") or {}
    single = {"devices": (1, "1"), "num_nodes": (1,), "strategy": ("auto",)}
    return any(trainer.get(name, values[0]) not in values for name, values in single.items())


def run_in_subprocess(cfg: DictConfig) -> float | None:
    """Runs the point that Hydra has just set up, and returns its monitored number.

    Raises:
        UserError: the point failed. Its process has printed the traceback of an unexpected error.
    """
    hydra = HydraConfig.get()
    run = Path(hydra.runtime.output_dir)
    child = ChildProcess(point_command(hydra.overrides.task, run, config_dir=user_config_dir(hydra)))
    try:
        child.wait()
    except BaseException:
        child.terminate()
        child.stop()
        finalize_status(run, child, interrupted=True)
        raise
    child.stop(grace_s=0)
    status = finalize_status(run, child)
    if status.status == "interrupted":
        raise RunInterrupted(signal.SIGTERM)
    if status.status not in COMPLETED:
        raise UserError(status.reason or status.status)
    return status.value
