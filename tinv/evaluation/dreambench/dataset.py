"""A folder as DreamBench's: a folder of pictures for each subject, and prompts_and_classes.txt.

The benchmark is that of DreamBooth (Ruiz et al. 2022, arXiv 2208.12242): github.com/google/dreambooth, in `dataset`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinv.data.images import IMAGE_SUFFIXES
from tinv.errors import UserError

FILE = "prompts_and_classes.txt"
LIVE = ("cat", "dog")
"""Classes of live subjects, which are asked for in clothes instead of in more places."""
_BOTH = """
a {} in the jungle
a {} in the snow
a {} on the beach
a {} on a cobblestone street
a {} on top of pink fabric
a {} on top of a wooden floor
a {} with a city in the background
a {} with a mountain in the background
a {} with a blue house in the background
a {} on top of a purple rug in a forest
"""
_OBJECTS = """
a {} with a wheat field in the background
a {} with a tree and autumn leaves in the background
a {} with the Eiffel Tower in the background
a {} floating on top of water
a {} floating in an ocean of milk
a {} on top of green grass with sunflowers around it
a {} on top of a mirror
a {} on top of the sidewalk in a crowded street
a {} on top of a dirt road
a {} on top of a white rug
"""
_LIVE = """
a {} wearing a red hat
a {} wearing a santa hat
a {} wearing a rainbow scarf
a {} wearing a black top hat and a monocle
a {} in a chef outfit
a {} in a firefighter outfit
a {} in a police outfit
a {} wearing pink glasses
a {} wearing a yellow shirt
a {} in a purple wizard outfit
"""
_PROPERTIES = """
a red {}
a purple {}
a shiny {}
a wet {}
a cube shaped {}
"""
PUBLISHED = {
    "object": tuple((_BOTH + _OBJECTS + _PROPERTIES).replace("\n\n", "\n").strip().splitlines()),
    "live": tuple((_BOTH + _LIVE + _PROPERTIES).replace("\n\n", "\n").strip().splitlines()),
}
"""The 25 prompts of each kind, for folders whose file has none."""

_CLASS = re.compile(r"([\w.-]+),([^,\n]+)")
_PROMPT = re.compile(r"""['"](.*\{0\}.*)['"]\.format""")


@dataclass(frozen=True)
class Subject:
    """A thing to learn."""

    name: str
    folder: Path
    noun: str
    """Its class's plain name."""
    prompts: Sequence[str]
    """With `{}` for the word."""

    @property
    def placeholder_token(self) -> str:
        """`backpack_dog` -> `<backpack-dog>`."""
        return f"<{self.name.replace('_', '-').lower()}>"


def read_subjects(data: Path, only: Sequence[str] = ()) -> list[Subject]:
    """The subjects of a folder.

    Args:
        data: the folder.
        only: their names; none is all.

    Raises:
        UserError: the folder is of another layout, or a subject is missing.
    """
    file = data / FILE
    if not file.is_file():
        raise UserError(f"--data {data} has no {FILE}; give DreamBooth's folder `dataset`, or one of its layout")
    text = file.read_text(encoding="utf-8")
    classes = _classes(text)
    there = {path.name: path for path in sorted(data.iterdir()) if path.is_dir() and _has_pictures(path)}
    if unknown := sorted(set(only) - set(there)):
        raise UserError(f"--subjects: {data} has no {', '.join(unknown)}; it has {', '.join(there) or 'no pictures'}")
    if nameless := sorted(set(there) - set(classes)):
        raise UserError(f"{file} has no class for {', '.join(nameless)}; add lines such as {nameless[0]},toy")
    if missing := sorted(set(classes) - set(there)):
        raise UserError(f"{data} has no pictures of {', '.join(missing)}, which are in {FILE}; is the copy whole?")
    prompts = _prompts(text)
    chosen = [name for name in there if not only or name in only]
    if not chosen:
        raise UserError(f"--data {data} has no folder with pictures; give DreamBooth's folder `dataset`")
    return [
        Subject(name, there[name], classes[name], prompts["live" if classes[name] in LIVE else "object"])
        for name in chosen
    ]


def _classes(text: str) -> dict[str, str]:
    """The lines `backpack_dog,backpack`, above the prompts."""
    above = re.split(r"(?m)^\s*Prompts\s*$", text)[0]
    found = {match[1]: match[2].strip() for line in above.splitlines() if (match := _CLASS.fullmatch(line.strip()))}
    return {name: noun for name, noun in found.items() if name != "subject_name"}


def _prompts(text: str) -> dict[str, Sequence[str]]:
    """The lists below their headings, the published ones where there are none."""
    below = re.split(r"(?m)^\s*Live Subject Prompts\s*$", text)
    parts = {"object": below[0], "live": below[1] if len(below) > 1 else ""}
    found = {kind: [_with_gap(match[1]) for match in _PROMPT.finditer(part)] for kind, part in parts.items()}
    return {kind: found[kind] or PUBLISHED[kind] for kind in found}


def _with_gap(prompt: str) -> str:
    """`a {0} {1} in the snow` -> `a {} in the snow`: textual inversion's word stands for token and class."""
    return " ".join(prompt.replace("{0} {1}", "{}").replace("{0}", "{}").replace("{1}", "").split())


def _has_pictures(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())
