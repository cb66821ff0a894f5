"""What is inside a `_partial_` node, once it is built."""

import functools
from typing import Any


def unwrap(factory: Any) -> tuple[str, dict[str, Any]]:
    """The name of what a factory builds, and the settings that it has been given, the outermost winning."""
    settings: dict[str, Any] = {}
    while isinstance(factory, functools.partial):
        settings = {**factory.keywords, **settings}
        factory = factory.func
    return getattr(factory, "__name__", type(factory).__name__), settings
