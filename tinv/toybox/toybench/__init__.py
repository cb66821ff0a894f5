"""Twelve more things that the toybox's model has never seen, to compare methods on: `+experiment=toybench`.

Importing this costs nothing; the modules behind it import what they need.
"""

from typing import Literal, get_args

from tinv.concept import Concept

Name = Literal[
    "lime_cat",
    "teal_dog",
    "magenta_dog",
    "magenta_robot",
    "teal_robot",
    "lime_car",
    "teal_mug",
    "magenta_mug",
    "lime_teapot",
    "teal_house",
    "magenta_house",
    "lime_star",
]
NAMES: tuple[Name, ...] = get_args(Name)


def make_concept(name: Name, initializer_token: str | None = None) -> Concept:
    """What is learned of one of the twelve: `<lime-cat>`, from "cat".

    Args:
        name: which one.
        initializer: the word that it starts from; None is the plain name of its class.
    """
    return Concept(
        placeholder_token=f"<{name.replace('_', '-')}>", initializer_token=initializer_token or class_noun(name)
    )


def class_noun(name: str) -> str:
    """The plain name of what it is one of: "cat"."""
    return name.rpartition("_")[2]
