"""Reads the DreamBench dataset: a folder of images for each subject, and prompts_and_classes.txt.

It is the folder `dataset` of github.com/google/dreambooth (Ruiz et al. 2022, arXiv 2208.12242).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinv.data.images import IMAGE_SUFFIXES
from tinv.errors import UserError

PROMPTS_FILE = "prompts_and_classes.txt"
_LIVE_CLASSES = ("cat", "dog")
"""Live subjects have prompts with clothes instead of more scenes."""
_COMMON = """
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
    "object": tuple((_COMMON + _OBJECTS + _PROPERTIES).replace("\n\n", "\n").strip().splitlines()),
    "live": tuple((_COMMON + _LIVE + _PROPERTIES).replace("\n\n", "\n").strip().splitlines()),
}
"""The 25 prompts for objects and for live subjects, for datasets whose file has none."""

_CLASS = re.compile(r"([\w.-]+),([^,\n]+)")
_PROMPT = re.compile(r"""['"](.*\{0\}.*)['"]\.format""")


@dataclass(frozen=True)
class DreamBenchSubject:
    """A subject of the dataset."""

    name: str
    folder: Path
    class_noun: str
    prompts: Sequence[str]
    """With `{}` for the token."""

    @property
    def placeholder_token(self) -> str:
        """The token: `backpack_dog` -> `<backpack-dog>`."""
        return f"<{self.name.replace('_', '-').lower()}>"


def read_subjects(data: Path, only: Sequence[str] = ()) -> list[DreamBenchSubject]:
    """Returns the subjects of a dataset.

    Args:
        data: the folder.
        only: names of subjects; empty is all.

    Raises:
        UserError: the folder has another layout, or a subject is missing.
    """
    file = data / PROMPTS_FILE
    if not file.is_file():
        raise UserError(f"--data={data} has no {PROMPTS_FILE}. Give DreamBooth's folder `dataset`, or one like it.")
    text = file.read_text(encoding="utf-8")
    classes = _parse_classes(text)
    folders = {path.name: path for path in sorted(data.iterdir()) if path.is_dir() and _has_images(path)}
    if unknown := sorted(set(only) - set(folders)):
        available = ", ".join(folders) or "no subjects"
        raise UserError(f"--subjects={','.join(unknown)}: {data} has no such subject. It has {available}.")
    if unclassified := sorted(set(folders) - set(classes)):
        raise UserError(f"{file} has no class for {', '.join(unclassified)}. Add a line such as {unclassified[0]},toy.")
    if missing := sorted(set(classes) - set(folders)):
        raise UserError(f"{data} has no images of {', '.join(missing)}, which {PROMPTS_FILE} lists. Is it complete?")
    prompts = _parse_prompts(text)
    names = [name for name in folders if not only or name in only]
    if not names:
        raise UserError(f"--data={data} has no folder with images. Give DreamBooth's folder `dataset`.")
    return [
        DreamBenchSubject(name, folders[name], noun, prompts["live" if noun in _LIVE_CLASSES else "object"])
        for name in names
        for noun in [classes[name]]
    ]


def _parse_classes(text: str) -> dict[str, str]:
    """Returns the class of each subject, from the lines `backpack_dog,backpack` above the prompts."""
    above = re.split(r"(?m)^\s*Prompts\s*$", text)[0]
    classes = {match[1]: match[2].strip() for line in above.splitlines() if (match := _CLASS.fullmatch(line.strip()))}
    return {name: noun for name, noun in classes.items() if name != "subject_name"}


def _parse_prompts(text: str) -> dict[str, Sequence[str]]:
    """Returns the prompts below each heading, or the published ones."""
    below = re.split(r"(?m)^\s*Live Subject Prompts\s*$", text)
    parts = {"object": below[0], "live": below[1] if len(below) > 1 else ""}
    return {
        kind: [_to_slot(match[1]) for match in _PROMPT.finditer(part)] or PUBLISHED[kind]
        for kind, part in parts.items()
    }


def _to_slot(prompt: str) -> str:
    """Returns `a {} in the snow` for `a {0} {1} in the snow`: one token replaces DreamBooth's token and class."""
    return " ".join(prompt.replace("{0} {1}", "{}").replace("{0}", "{}").replace("{1}", "").split())


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())
