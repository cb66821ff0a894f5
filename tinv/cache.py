"""The folder for what can be made again: each system has its own place for it."""

import os
import sys
from pathlib import Path

AUTO = "auto"
VARIABLE = "TINV_CACHE"
"""Environment variable that moves the folder, for machines whose home folders are small."""


def folder(setting: str | None) -> Path | None:
    """Where `paths.cache_dir` is.

    Args:
        setting: a path, `auto` for the user's cache folder, or None for nowhere.
    """
    if setting is None:
        return None
    return _of_the_user() if setting == AUTO else Path(setting).expanduser()


def _of_the_user() -> Path:
    """`$TINV_CACHE`, or `tinv` in the system's cache folder (the XDG base directories, where they are set)."""
    if own := os.environ.get(VARIABLE):
        return Path(own).expanduser()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).expanduser() / "tinv"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "tinv/Cache"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "tinv"
