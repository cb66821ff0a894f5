"""Writes overrides in Hydra's grammar, and commands for a shell."""

import shlex
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException


def assign(key: str, value: Any) -> str:
    """Returns `key=value`, quoted so that Hydra reads the same value.

    Args:
        key: of a setting or a group.
        value: a string, a number, a bool, None, or a list of these.
    """
    return f"{key}={_format(value)}"


def format_command(program: str, overrides: Sequence[str]) -> str:
    """Returns a command for a POSIX shell, one override on each line."""
    return " \\\n    ".join([program, *map(shlex.quote, overrides)])


def _format(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(_quote(item) if isinstance(item, str) else _format(item) for item in value)}]"
    if isinstance(value, str):
        return value if _is_plain(value) else _quote(value)
    return repr(value)


def _quote(text: str) -> str:
    """Quotes with double quotes, because the shell's are single; escapes `${`, which would be an interpolation."""
    return QuotedString(text.replace("${", r"\${"), Quote.double).with_quotes()


@lru_cache
def _is_plain(text: str) -> bool:
    """Whether Hydra reads the text as itself without quotes."""
    try:
        return bool(text) and "${" not in text and _parser().parse_override(f"key={text}").value() == text
    except HydraException:
        return False


@lru_cache(maxsize=1)
def _parser() -> OverridesParser:
    return OverridesParser.create()
