"""Twelve toys outside the training set of the toybox model, for comparing methods: `+experiment=toybench`.

Importing this package loads no library.
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
    """Returns the concept of a toy: `<lime-cat>` with the initializer token "cat".

    Args:
        name: of the toy.
        initializer_token: None is the class noun.
    """
    return Concept(
        placeholder_token=f"<{name.replace('_', '-')}>", initializer_token=initializer_token or class_noun(name)
    )


def class_noun(name: str) -> str:
    """Returns the class noun: "cat"."""
    return name.rpartition("_")[2]
