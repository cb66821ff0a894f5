"""A point that Lightning starts several processes for gets a process of its own to start them from.

Lightning repeats the command line in each further process, which would repeat the sweep (pytorch-lightning#11300); it
leaves addresses in the environment that make the next point wait for processes that have ended; and when one of its
processes fails it ends the one that started them, and with it the sweep.
"""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tinv.errors import UserError
from tinv.sweeps.child_process import ChildProcess, command, finalize_status


def needs_subprocess(cfg: DictConfig) -> bool:
    """Whether a run may need more than this process: in doubt it does."""
    trainer = cfg.get("trainer") or {}
    plain = {"devices": (1, "1"), "num_nodes": (1,), "strategy": ("auto",)}
    return any(trainer.get(name, usual[0]) not in usual for name, usual in plain.items())


def run_in_subprocess(cfg: DictConfig) -> float | None:
    """Run the point that Hydra has just set up, in its folder; gives its monitored number.

    Raises:
        UserError: it failed; its traceback, if it is a defect of ours, has been printed.
    """
    hydra = HydraConfig.get()
    run = Path(hydra.runtime.output_dir)
    child = ChildProcess(command(hydra.overrides.task, run, config_dir=config_dir(hydra)))
    try:
        child.wait()
    except BaseException:
        child.ask_to_end()
        child.end()
        finalize_status(run, child, interrupted=True)
        raise
    child.end(grace_s=0)
    status = finalize_status(run, child)
    if status.status == "interrupted":
        raise KeyboardInterrupt
    if status.status != "done":
        raise UserError(status.reason or status.status)
    return status.value


def config_dir(hydra: Any) -> str | None:
    """The folder of `--config-dir`."""
    return next((source.path for source in hydra.runtime.config_sources if source.provider == "command-line"), None)
