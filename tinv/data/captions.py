"""What is said of a picture: templates, its own words, or both together.

In a template `{}` is the concept's word and `[caption]` what the picture's own file or name says.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tinv.concept import Concept, whole_word_regex
from tinv.data.images import CAPTION_SUFFIXES, format_names
from tinv.errors import UserError

GAP, OWN = "{}", "[caption]"


@dataclass(frozen=True)
class TagAugmentation:
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
        said = [mentions(part, word) for part in parts]
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
    tags: TagAugmentation = field(default=TagAugmentation())

    def __len__(self) -> int:
        return len(self.templates) * len(self.texts)

    def __getitem__(self, i: int) -> str:
        return self._fill(i, self.texts[i // len(self.templates)])

    @property
    def varies(self) -> bool:
        """They are not the same each time."""
        return self.tags != TagAugmentation()

    def varied(self, i: int, chance: torch.Generator) -> str:
        """Caption i as it is said this time."""
        return self._fill(i, self.tags.vary(self.texts[i // len(self.templates)], self.word, chance))

    def _fill(self, i: int, text: str) -> str:
        template = self.templates[i % len(self.templates)]
        if not text:
            template = re.sub(rf"[\s,]*{re.escape(OWN)}", "", template).strip(" ,") or GAP
        return template.replace(OWN, text).replace(GAP, self.word)


def add_caption_field(templates: Sequence[str]) -> tuple[str, ...]:
    """Templates with a place for the picture's own words: at the end, where they have none."""
    return tuple(template if OWN in template else f"{template}, {OWN}" for template in templates)


def mentions(text: str, word: str) -> bool:
    """Whether the word is in a text, whole, or a place for it is."""
    return GAP in text or re.search(whole_word_regex(word), text, re.IGNORECASE) is not None


def insert_placeholder(text: str, word: str) -> str:
    """A text that says the word: where it does already, or in the place of `{}`, or else in front of it."""
    return text.replace(GAP, word) if mentions(text, word) else f"{word}, {text}"


def read_caption_files(images: Sequence[Path]) -> dict[Path, tuple[str, ...]]:
    """What the `.txt` or `.caption` file beside each picture says, a text a line.

    Raises:
        UserError: naming the pictures without one, those with two, or a file that says nothing.
    """
    beside = {image: [path for path in map(image.with_suffix, CAPTION_SUFFIXES) if path.is_file()] for image in images}
    if missing := [image.name for image, files in beside.items() if not files]:
        raise UserError(
            f"data.captions=files: no caption beside {format_names(missing)}; "
            f"write one into {Path(missing[0]).with_suffix('.txt')}, or set data.captions=templates"
        )
    if twofold := [f"{files[0].name} and {files[1].name}" for files in beside.values() if len(files) > 1]:
        raise UserError(f"data.captions=files: there are both {format_names(twofold)}; keep one of the two")
    return {image: _lines(files[0]) for image, files in beside.items()}


def captions_from_names(images: Sequence[Path]) -> dict[Path, tuple[str, ...]]:
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
            f"data.captions=names: there are no words in the name of {format_names(mute)}; name pictures by what they show, "
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


SOURCES = ("templates", "files", "names", "templates+files", "templates+names")


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """Where captions come from."""

    captions: str = "templates"
    """One of SOURCES."""
    templates_file: Path | None = None
    """Templates of one's own; None is the standard set of the concept's kind."""
    tags: TagAugmentation = field(default=TagAugmentation())
    """What happens to captions of the pictures' own each time."""

    def __post_init__(self) -> None:
        if self.captions not in SOURCES:
            raise UserError(f"data.captions must be one of {', '.join(SOURCES)}, got {self.captions!r}")
        if self.templates_file and "templates" not in self.captions:
            raise UserError(
                f"data.templates_file is not used with data.captions={self.captions}; "
                f"set data.captions=templates+{self.captions}, or templates_file=null"
            )
        if self.tags != TagAugmentation() and self.captions == "templates":
            raise UserError(
                "data.shuffle_tags, drop_tags and drop_caption are for the pictures' own captions; "
                "set data.captions=files, or leave them out"
            )

    def load_captions(self, images: Sequence[Path], concept: Concept) -> dict[Path, Captions]:
        """What may be said of each picture.

        Raises:
            UserError: a file that is needed is missing or says nothing usable.
        """
        word, own = concept.placeholder_token, self._texts(images)
        if "templates" not in self.captions:
            if self.captions == "files":  # file names hardly ever say it
                _tell_of_the_word(own, word)
            own = {image: tuple(insert_placeholder(text, word) for text in texts) for image, texts in own.items()}
            return {image: Captions(word, (OWN,), texts, self.tags) for image, texts in own.items()}
        frames = read_templates(self.templates_file) if self.templates_file else load_templates(concept.kind)
        if self.captions == "templates":
            if any(OWN in frame for frame in frames):
                raise UserError(
                    f"data.templates_file: {self.templates_file} has a place for {OWN}; set data.captions="
                    f"templates+files (a text file beside each picture) or templates+names (its file name)"
                )
            return dict.fromkeys(images, Captions(word, frames))
        frames = add_caption_field(frames)
        return {image: Captions(word, frames, texts, self.tags) for image, texts in own.items()}

    def source_of(self, image: Path) -> str:
        """Where the captions of a picture are written, for messages."""
        if "files" in self.captions:
            return next((path.name for path in map(image.with_suffix, CAPTION_SUFFIXES) if path.is_file()), image.name)
        if "names" in self.captions:
            return f"the name of {image.name}"
        return str(self.templates_file or "the standard templates")

    def _texts(self, images: Sequence[Path]) -> dict[Path, tuple[str, ...]]:
        if "files" in self.captions:
            return read_caption_files(images)
        if "names" in self.captions:
            return captions_from_names(images)
        if idle := [
            path.name for image in images for path in map(image.with_suffix, CAPTION_SUFFIXES) if path.is_file()
        ]:
            warnings.warn(
                f"data.captions=templates makes no use of {format_names(idle)} beside the pictures; "
                f"files or templates+files does",
                stacklevel=2,
            )
        return {}


def _tell_of_the_word(own: dict[Path, tuple[str, ...]], word: str) -> None:
    texts = [text for texts in own.values() for text in texts]
    if mute := [text for text in texts if not mentions(text, word)]:
        warnings.warn(
            f"data.captions: {len(mute)} of {len(texts)} captions do not say {word}, which is put in front: "
            f"{insert_placeholder(mute[0], word)!r}; write {{}} or {word} where it belongs",
            stacklevel=3,
        )


_TEMPLATES = Path(__file__).with_name("templates")
CONTEXT_TEMPLATES: Path = _TEMPLATES / "context.txt"
"""Prompts that say something behind the word: where it is, beside what, drawn how."""


def load_templates(kind: str) -> tuple[str, ...]:
    """The standard captions for a kind of concept, `object` or `style`."""
    return read_templates(_TEMPLATES / f"{kind}.txt")


def read_templates(path: Path, setting: str = "data.templates_file") -> tuple[str, ...]:
    """The captions in a file: one a line, each with one `{}`; empty lines and lines starting with # are passed over.

    Args:
        path: of the file.
        setting: where it is named, for messages.

    Raises:
        UserError: no such file, no caption in it, or a caption without exactly one gap.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{setting}: cannot read {path} ({error}); give a text file with one caption a line") from error
    captions = tuple(line for line in lines if line and not line.startswith("#"))
    if not captions:
        raise UserError(f"{setting}: {path} holds no caption; write one a line, such as 'a photo of a {{}}'")
    for caption in captions:
        if caption.count("{}") != 1 or caption.replace("{}", "").count("{") or caption.replace("{}", "").count("}"):
            other = "[name]" in caption or "[filewords]" in caption
            hint = " (what is [name] in A1111 is {} here, and [filewords] is [caption])" if other else ""
            raise UserError(
                f"{setting}: {path} has {caption!r}; each caption needs exactly one {{}} for the word{hint}"
            )
    return captions
