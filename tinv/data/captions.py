"""What is said of a picture: templates, its own words, or both together.

In a template `{}` is the concept's word and `[caption]` what the picture's own file or name says.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tinv.concept import whole_word_regex
from tinv.data.images import CAPTIONS, listed
from tinv.errors import UserError

GAP, OWN = "{}", "[caption]"


@dataclass(frozen=True)
class Tags:
    """What happens anew, whenever it is shown, to a caption that lists tags between commas."""

    shuffle: bool = False
    """Put the tags into another order, the one with the word first."""
    drop: float = 0.0
    """How often each tag is left out; the one with the word never is."""
    drop_caption: float = 0.0
    """How often the whole caption is left out; the template alone remains, or the word alone."""

    def __post_init__(self) -> None:
        for name, share in (("drop_tags", self.drop), ("drop_caption", self.drop_caption)):
            if not 0 <= share <= 1:
                raise UserError(f"data.{name} is a share and must be between 0 and 1, got {share}")

    def vary(self, text: str, word: str, chance: torch.Generator) -> str:
        """A caption with its tags in another order, or with some of them, or nothing of it."""
        parts = [part.strip() for part in text.split(",") if part.strip()]
        said = [says(part, word) for part in parts]
        places = list(range(len(parts)))
        if self.shuffle:
            places = torch.randperm(len(parts), generator=chance).tolist()
            places.sort(key=lambda place: not said[place])
        stays = (torch.rand(len(parts), generator=chance) >= self.drop).tolist()
        if float(torch.rand((), generator=chance)) < self.drop_caption:
            return ""
        return ", ".join(parts[place] for place in places if stays[place] or said[place])


@dataclass(frozen=True)
class Captions:
    """What may be said of one picture: each template with each of its texts."""

    word: str
    templates: tuple[str, ...]
    texts: tuple[str, ...] = ("",)
    tags: Tags = field(default=Tags())

    def __len__(self) -> int:
        return len(self.templates) * len(self.texts)

    def __getitem__(self, i: int) -> str:
        return self._fill(i, self.texts[i // len(self.templates)])

    @property
    def varies(self) -> bool:
        """They are not the same each time."""
        return self.tags != Tags()

    def varied(self, i: int, chance: torch.Generator) -> str:
        """Caption i as it is said this time."""
        return self._fill(i, self.tags.vary(self.texts[i // len(self.templates)], self.word, chance))

    def _fill(self, i: int, text: str) -> str:
        template = self.templates[i % len(self.templates)]
        if not text:
            template = re.sub(rf"[\s,]*{re.escape(OWN)}", "", template).strip(" ,") or GAP
        return template.replace(OWN, text).replace(GAP, self.word)


def with_caption(templates: Sequence[str]) -> tuple[str, ...]:
    """Templates with a place for the picture's own words: at the end, where they have none."""
    return tuple(template if OWN in template else f"{template}, {OWN}" for template in templates)


def says(text: str, word: str) -> bool:
    """Whether the word is in a text, whole, or a place for it is."""
    return GAP in text or re.search(whole_word_regex(word), text, re.IGNORECASE) is not None


def with_word(text: str, word: str) -> str:
    """A text that says the word: where it does already, or in the place of `{}`, or else in front of it."""
    return text.replace(GAP, word) if says(text, word) else f"{word}, {text}"


def texts_of_files(images: Sequence[Path]) -> dict[Path, tuple[str, ...]]:
    """What the `.txt` or `.caption` file beside each picture says, a text a line.

    Raises:
        UserError: naming the pictures without one, those with two, or a file that says nothing.
    """
    beside = {image: [path for path in map(image.with_suffix, CAPTIONS) if path.is_file()] for image in images}
    if missing := [image.name for image, files in beside.items() if not files]:
        raise UserError(
            f"data.captions=files: no caption beside {listed(missing)}; "
            f"write one into {Path(missing[0]).with_suffix('.txt')}, or set data.captions=templates"
        )
    if twofold := [f"{files[0].name} and {files[1].name}" for files in beside.values() if len(files) > 1]:
        raise UserError(f"data.captions=files: there are both {listed(twofold)}; keep one of the two")
    return {image: _lines(files[0]) for image, files in beside.items()}


def texts_of_names(images: Sequence[Path]) -> dict[Path, tuple[str, ...]]:
    """The words in each picture's file name: `02_a_red-haired toy (3).jpg` says `a red-haired toy`.

    Raises:
        UserError: naming the files whose names have no words.
    """
    names: dict[Path, tuple[str, ...]] = {}
    for image in images:
        words = re.sub(r"^\d+[\s_.-]+|[\s_-]+\d+$|\s*\(\d+\)$", "", image.stem)
        names[image] = (" ".join(words.replace("_", " ").split()),)
    if mute := [image.name for image, texts in names.items() if not re.search(r"[^\W\d_]", texts[0])]:
        raise UserError(
            f"data.captions=names: there are no words in the name of {listed(mute)}; name pictures by what they show, "
            f"such as 'on a wooden table.jpg', or set data.captions=templates"
        )
    return names


def _lines(path: Path) -> tuple[str, ...]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"data.captions: cannot read {path} ({error}); save it as UTF-8 text") from error
    if not (texts := tuple(line for line in lines if line)):
        raise UserError(f"data.captions: {path} is empty; write a caption into it, or several, one a line")
    return texts
