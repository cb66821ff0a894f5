"""Embedding files: what a run writes, and what other programs read and write.

The names below are imported on first use, so that the command line can list `FORMATS` without loading torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tinv.formats.format_names import EXPORT_FORMATS, FORMATS, PIPELINE

if TYPE_CHECKING:
    from tinv.formats.learned_embedding import LearnedEmbedding
    from tinv.formats.reading import identify, identify_all, read, read_all
    from tinv.formats.text_encoders import encoder_of_width
    from tinv.formats.writing import get_format, write

_MODULES = {"LearnedEmbedding": "learned_embedding", "encoder_of_width": "text_encoders"}
_MODULES |= dict.fromkeys(("identify", "identify_all", "read", "read_all"), "reading")
_MODULES |= dict.fromkeys(("get_format", "write"), "writing")

__all__ = [
    "EXPORT_FORMATS",
    "FORMATS",
    "PIPELINE",
    "LearnedEmbedding",
    "encoder_of_width",
    "get_format",
    "identify",
    "identify_all",
    "read",
    "read_all",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
