"""Which toy of the toybox's world a word stands for, and what people who cannot learn words call it."""

from tinv.errors import UserError
from tinv.toybox import concepts
from tinv.toybox.toybench import class_of
from tinv.toybox.toybench.toys import TOYS
from tinv.toybox.toys import Toy

_ALL = {**concepts.TOYS, **TOYS}


def toy_of(placeholder: str) -> Toy:
    """The toy that a word stands for: one of the twelve, or of the toybox's own four.

    Raises:
        UserError: it is none of them.
    """
    return _ALL[_name_of(placeholder)]


def noun_of(placeholder: str) -> str:
    """The plain name of what it is one of, wherever learning began: "cat" for `<lime-cat>`, "toy" for `<cat-toy>`.

    Raises:
        UserError: as `toy_of`.
    """
    name = _name_of(placeholder)
    return class_of(name) if name in TOYS else concepts.concept(name).initializer_token


def _name_of(placeholder: str) -> str:
    parts = placeholder.strip("<>").split("-")
    found = next((name for name in ("_".join(parts), parts[0]) if name in _ALL), None)
    if found is None:
        known = ", ".join(_ALL)
        raise UserError(f"{placeholder} is none of the toys that can be rendered ({known}); use tinv evaluate")
    return found
