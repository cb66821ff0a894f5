"""Sweeps: many runs from one command, each in its own folder.

Hydra finds plugins only in a package `hydra_plugins`, and imports that package into every Hydra program of the
environment. tinv has no such package: `register` adds its sweepers and launchers to Hydra's table under that name.
A file `<name>_sweeper.py` or `<name>_launcher.py` in this folder is registered without being listed anywhere.
"""

from functools import cache
from importlib import import_module
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.plugins.plugin import Plugin


@cache
def plugins() -> dict[str, type[Plugin]]:
    """Returns tinv's sweepers and launchers by their `_target_` in conf/hydra: gpu_launcher.py holds GpuLauncher."""
    files = [path.stem for kind in ("sweeper", "launcher") for path in Path(__file__).parent.glob(f"*_{kind}.py")]
    names = {stem.title().replace("_", ""): import_module(f"{__name__}.{stem}") for stem in sorted(files)}
    return {f"hydra_plugins.tinv.{name}": getattr(module, name) for name, module in names.items()}


def register() -> None:
    """Makes Hydra know tinv's sweepers and launchers."""
    Plugins.instance().class_name_to_class.update(plugins())
