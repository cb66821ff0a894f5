"""Finds access tokens in settings, which are written to files and logs and must not hold any."""

import os
import re
from collections.abc import Iterator
from typing import Any

_TOKEN = re.compile(r"\bhf_(?:oauth_|jwt_)?[A-Za-z0-9]{20,}[\w.-]*")
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN", "WANDB_API_KEY")
_INTERPOLATION = re.compile(rf"\boc\.env:\s*(?:{'|'.join(_VARIABLES)})\b")
_KEY = re.compile(r"(^|[._])(?<!placeholder_)(?<!initializer_)((hf_|hub_|auth_|access_)?token|(wandb_)?api_?key)$")
MASK = "***"
REMEDY = (
    "contains an access token, and settings are written to files and logs. Remove it, and use `hf auth login`, "
    "`wandb login`, HF_TOKEN or WANDB_API_KEY instead. If it was saved or shown anywhere, revoke it."
)


def is_secret(text: str) -> bool:
    """Whether a text contains a token of the Hub's form, or the value or interpolation of a variable for tokens."""
    return bool(_TOKEN.search(text) or _INTERPOLATION.search(text)) or any(value in text for value in _in_environment())


def hide(text: str) -> str:
    """Returns the text with every token replaced."""
    for value in _in_environment():
        text = text.replace(value, MASK)
    return _TOKEN.sub(MASK, text)


def is_secret_override(text: str) -> bool:
    """Whether an override contains a token, judged by its value or by its key: `hub.token=...`."""
    key, equals, value = text.partition("=")
    return is_secret(text) or bool(equals and value and _KEY.search(key.lstrip("+~")))


def find_secrets(tree: Any, path: str = "") -> Iterator[str]:
    """Yields the paths of the tokens in a tree of plain values."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from find_secrets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from find_secrets(value, f"{path}[{index}]")
    elif isinstance(tree, str) and is_secret(tree):
        yield hide(path)


def _in_environment() -> list[str]:
    return [value for name in _VARIABLES if len(value := os.environ.get(name, "").strip()) >= 8]
