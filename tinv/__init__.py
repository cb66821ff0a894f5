"""Textual inversion: learn a new word for a frozen text-to-image model from a handful of images.

`load_embedding` and `unload_embedding` of `tinv.inference.load_embedding` are imported on first use, so that the
command line starts without torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_FUNCTIONS = ("load_embedding", "unload_embedding")


def __getattr__(name: str) -> Any:
    if name not in _FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("tinv.inference.load_embedding"), name)
