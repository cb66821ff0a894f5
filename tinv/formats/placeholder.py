"""The placeholder token of an embedding: named in the file, or else by the file name."""

import re
from pathlib import Path

from tinv.errors import UserError
from tinv.formats.content import Content, sanitize
from tinv.formats.metadata import find_token
from tinv.runs.layout import TOKEN_IDENTIFIER

_MAX_LENGTH = 100
_MAX_TEXT = 2**12


def resolve_token(content: Content, name: str | None = None) -> str:
    """Returns the token, from the first of these sources that names one.

    A name beside the vectors; the file's metadata; `token_identifier.txt` in its folder; the file name, by which
    AUTOMATIC1111's web UI and ComfyUI know such a file.

    Raises:
        UserError: the token cannot be typed in a prompt.
    """
    token = name or find_token(content.metadata) or _token_identifier(content.path)
    return check_token(content.path, token or "-".join(content.path.stem.split()))


def check_token(path: Path, token: str) -> str:
    """Returns the token if it can be typed in a prompt.

    Raises:
        UserError: it is empty, too long, or has characters that are not printable.
    """
    if not token.strip() or len(token) > _MAX_LENGTH or not token.isprintable():
        raise UserError(
            f"{path} names the token {sanitize(token)!r}, which cannot be typed in a prompt; give another with token"
        )
    return token


def read_text_beside(path: Path, name: str) -> str | None:
    """Returns the start of a text file in the same folder, None if there is none."""
    file = path.with_name(name)
    try:
        if not file.is_file():
            return None
        with file.open(encoding="utf-8", errors="replace") as opened:
            return opened.read(_MAX_TEXT)
    except OSError:
        return None


def _token_identifier(path: Path) -> str | None:
    return re.sub(r"\s+", "", read_text_beside(path, TOKEN_IDENTIFIER) or "") or None
