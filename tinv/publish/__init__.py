"""A learned word for others: the files of the sd-concepts-library, a truthful card, and their way to the Hub.

`Publisher` is imported on first use, so that others can read the settings of a run without loading torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinv.publish.publisher import Publisher

__all__ = ["Publisher"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("tinv.publish.publisher"), name)
