"""The word of an embedding: what the file calls it, or else what the file is called."""

import re
from pathlib import Path

from tinv.errors import UserError
from tinv.formats.content import Content, shown
from tinv.formats.metadata import word_in

_MAX_LENGTH = 100
_MAX_NOTE = 2**12


def word_of(content: Content, name: str | None = None) -> str:
    """The word, from the first of these that tells one.

    A name beside the vectors; the file's texts; the `token_identifier.txt` in its folder; the file's own name, which
    is the word that AUTOMATIC1111's web UI and ComfyUI know such a file by.

    Raises:
        UserError: it cannot be typed in a prompt.
    """
    told = name or word_in(content.metadata) or _identifier(content.path) or "-".join(content.path.stem.split())
    return usable(content.path, told)


def usable(path: Path, word: str) -> str:
    """The word, if a prompt can hold it.

    Raises:
        UserError: it is empty, far too long, or holds what nobody can type.
    """
    if not word.strip() or len(word) > _MAX_LENGTH or not word.isprintable():
        raise UserError(f"{path} calls its vectors {shown(word)!r}, which is no word for a prompt; give one with token")
    return word


def note(path: Path, name: str) -> str | None:
    """A small text file beside a file, if there is one."""
    place = path.with_name(name)
    try:
        if not place.is_file():
            return None
        with place.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MAX_NOTE)
    except OSError:
        return None


def _identifier(path: Path) -> str | None:
    text = note(path, "token_identifier.txt")
    word = re.sub(r"\s+", "", text) if text else ""
    return word or None
