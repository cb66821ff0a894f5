"""Finds the toy that a placeholder token is named after, and its class noun."""

from tinv.errors import UserError
from tinv.toybox import concepts
from tinv.toybox.toybench import class_noun
from tinv.toybox.toybench.toys import TOYS
from tinv.toybox.toys import Toy

_TOYS = {**concepts.TOYS, **TOYS}


def find_toy(token: str) -> Toy:
    """Returns the toy of a token: one of the twelve of toybench, or one of the four of the toybox.

    Raises:
        UserError: it is none of them.
    """
    return _TOYS[_find_name(token)]


def class_noun_of(token: str) -> str:
    """Returns the class noun, whatever the initializer token was: "cat" for `<lime-cat>`, "toy" for `<cat-toy>`.

    Raises:
        UserError: as `toy_of`.
    """
    name = _find_name(token)
    return class_noun(name) if name in TOYS else concepts.get_concept(name).initializer_token


def _find_name(token: str) -> str:
    parts = token.strip("<>").split("-")
    name = next((name for name in ("_".join(parts), parts[0]) if name in _TOYS), None)
    if name is None:
        raise UserError(f"{token} is none of the toys that can be rendered ({', '.join(_TOYS)}). Use tinv evaluate.")
    return name
