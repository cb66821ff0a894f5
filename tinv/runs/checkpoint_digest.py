"""The SHA-256 at the end of a checkpoint, which shows damage before anything in the file is interpreted.

torch writes a zip archive, and the digest is the comment of that archive. So torch, Lightning and every zip program
read the file as if it had none.
"""

import hashlib
from pathlib import Path

from tinv.errors import UserError

_MARK = b"sha256:"
_COMMENT_BYTES = len(_MARK) + 2 * hashlib.sha256().digest_size
_NO_COMMENT = bytes(2)
"""A zip archive ends with the length of its comment."""


def add_digest(archive: bytes) -> bytes:
    """Returns a zip archive without a comment with the digest of all its bytes as its comment."""
    assert archive.endswith(_NO_COMMENT), "the archive has a comment"
    archive = archive.removesuffix(_NO_COMMENT) + _COMMENT_BYTES.to_bytes(2, "little")
    return archive + _comment(archive)


def read_verified(path: Path | str) -> bytes:
    """Returns the content of a checkpoint whose digest is correct.

    Raises:
        UserError: the file is missing, cannot be read, has no digest, or differs from what was written.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"checkpoint {path}: cannot be read ({error.strerror}). Resume from another one.") from error
    archive, comment = content[:-_COMMENT_BYTES], content[-_COMMENT_BYTES:]
    if not comment.startswith(_MARK):
        problem = "no SHA-256 at its end: it is cut off, damaged or from another program"
    elif comment != _comment(archive):
        problem = "its SHA-256 is wrong: it is damaged"
    else:
        return content
    raise UserError(f"checkpoint {path}: {problem}. Resume from another one.")


def find_damage(path: Path | str) -> str | None:
    """Returns why a run cannot resume from a checkpoint, None if its digest is correct."""
    try:
        read_verified(path)
    except UserError as error:
        return str(error)
    return None


def _comment(archive: bytes) -> bytes:
    return _MARK + hashlib.sha256(archive).hexdigest().encode()
