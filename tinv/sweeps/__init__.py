"""Sweeps: many runs from one command, each in a folder of its own.

`register` makes tinv's sweepers and launchers known to Hydra, which takes plugins from a package `hydra_plugins` only:
one there would be imported by every other Hydra program of the environment, so they go by such a name without one.
"""

from pathlib import Path

from hydra.core.plugins import Plugins

from tinv.runs.resume import choose_run_dir
from tinv.sweeps.gpu_launcher import GpuLauncher
from tinv.sweeps.grid_sweeper import GridSweeper
from tinv.sweeps.optuna_sweeper import OptunaSweeper
from tinv.sweeps.slurm_launcher import SlurmLauncher

__all__ = ["GpuLauncher", "GridSweeper", "OptunaSweeper", "SlurmLauncher", "register", "resolve_sweep_dir"]

NAMES = {
    f"hydra_plugins.tinv.{plugin.__name__}": plugin
    for plugin in (GridSweeper, GpuLauncher, OptunaSweeper, SlurmLauncher)
}
"""What `_target_` says in conf/hydra, and what it means."""


def register() -> None:
    """Make Hydra know our sweepers and launchers."""
    Plugins.instance().class_name_to_class.update(NAMES)


def resolve_sweep_dir(outputs: Path | str, name: str, resume: Path | str | None = None) -> str:
    """The folder for a sweep: a new one, or that of the sweep which is taken up again."""
    return choose_run_dir(outputs, name) if resume is None else str(resume)
