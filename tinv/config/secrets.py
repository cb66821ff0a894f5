"""Secrets that must not end up in settings, which are written to files, logs and other people's machines."""

import os
import re
from collections.abc import Iterator
from typing import Any

_TOKEN = re.compile(r"\bhf_(?:oauth_|jwt_)?[A-Za-z0-9]{20,}[\w.-]*")
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN", "WANDB_API_KEY")
_READ = re.compile(rf"\boc\.env:\s*(?:{'|'.join(_VARIABLES)})\b")
_NAME = re.compile(r"(^|[._])(?<!placeholder_)(?<!initializer_)((hf_|hub_|auth_|access_)?token|(wandb_)?api_?key)$")
HIDDEN = "***"
REMEDY = (
    "holds a token, and settings are written to files and logs: leave it out, and log in with "
    "`hf auth login` or `wandb login`, or set HF_TOKEN or WANDB_API_KEY; if this one was saved or shown anywhere, "
    "revoke it"
)


def is_secret(text: str) -> bool:
    """Whether a text holds a token: one of the Hub's form, the value of an environment variable for tokens, or its
    interpolation."""
    return bool(_TOKEN.search(text) or _READ.search(text)) or any(value in text for value in _in_environment())


def hide(text: str) -> str:
    """The text with every token in it replaced."""
    for value in _in_environment():
        text = text.replace(value, HIDDEN)
    return _TOKEN.sub(HIDDEN, text)


def is_secret_override(text: str) -> bool:
    """Whether an override gives a token away, by its value or by what it sets: `hub.token=...`."""
    name, equals, value = text.partition("=")
    return is_secret(text) or bool(equals and value and _NAME.search(name.lstrip("+~")))


def places(tree: Any, path: str = "") -> Iterator[str]:
    """Where in a tree of plain values the tokens are, by their keys."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from places(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, list):
        for position, value in enumerate(tree):
            yield from places(value, f"{path}[{position}]")
    elif isinstance(tree, str) and is_secret(tree):
        yield hide(path)


def _in_environment() -> list[str]:
    return [value for name in _VARIABLES if len(value := os.environ.get(name, "").strip()) >= 8]
