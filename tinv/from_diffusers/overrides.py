"""Settings as they are typed: first for Hydra's grammar, then for a shell."""

import shlex
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException


def assign(key: str, value: Any) -> str:
    """`key=value`, which Hydra reads back as that very value.

    Args:
        key: of a setting, or a group.
        value: text, a number, true or false, None, or a list of these.
    """
    return f"{key}={_written(value)}"


def command(program: str, overrides: Sequence[str]) -> str:
    """A command for a POSIX shell, a setting a line."""
    return " \\\n    ".join([program, *map(shlex.quote, overrides)])


def _written(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(_quoted(item) if isinstance(item, str) else _written(item) for item in value)}]"
    if isinstance(value, str):
        return value if _reads_as_itself(value) else _quoted(value)
    return repr(value)


def _quoted(text: str) -> str:
    """Double quotes, for a shell's own are single; `${` is text, not an interpolation."""
    return QuotedString(text.replace("${", r"\${"), Quote.double).with_quotes()


@lru_cache
def _reads_as_itself(text: str) -> bool:
    try:
        return bool(text) and "${" not in text and _parser().parse_override(f"key={text}").value() == text
    except HydraException:
        return False


@lru_cache(maxsize=1)
def _parser() -> OverridesParser:
    return OverridesParser.create()
