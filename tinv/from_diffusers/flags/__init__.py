"""Every flag of diffusers' textual-inversion scripts, and what does the same here: the one place that says so.

`tinv from-diffusers` reads it, and the tables in docs/from-diffusers.md are written from it.
"""

from collections.abc import Mapping

from tinv.from_diffusers.flag import Flag
from tinv.from_diffusers.flags import how, results, what

SECTIONS: Mapping[str, tuple[Flag, ...]] = {
    "The model, the word, the pictures": what.FLAGS,
    "The training": how.FLAGS,
    "What a run leaves": results.FLAGS,
}
FLAGS = tuple(flag for flags in SECTIONS.values() for flag in flags)

__all__ = ["FLAGS", "SECTIONS"]
