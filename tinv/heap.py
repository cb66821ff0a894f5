"""Freed memory that the C library keeps for itself, given back to the system.

glibc's heap only shrinks at its end. Where something small that stays lies behind something large that went, as the
moments of a picture do behind the picture, the hole is kept, and soon too small for the next large thing. So what
stays is brought together when all is made (`tinv.data.encode_latents.together`), and the holes are given back.
"""

import ctypes
from functools import cache
from typing import Any


def give_back() -> None:
    """Return every free page; does nothing where the C library has no call for it. Takes about a millisecond."""
    if trim := _trim():
        trim(0)


@cache
def _trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc; Windows takes no None
        return None
