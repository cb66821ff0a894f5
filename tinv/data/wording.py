"""The settings of what is said, and what they make of a folder of pictures."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinv.concept import Concept
from tinv.data.captions import OWN, Captions, Tags, says, texts_of_files, texts_of_names, with_caption, with_word
from tinv.data.images import CAPTIONS, listed
from tinv.errors import UserError
from tinv.templates import read_templates, templates

SOURCES = ("templates", "files", "names", "templates+files", "templates+names")


@dataclass(frozen=True, kw_only=True)
class Wording:
    """Where captions come from."""

    captions: str = "templates"
    """One of SOURCES."""
    templates_file: Path | None = None
    """Templates of one's own; None is the standard set of the concept's kind."""
    tags: Tags = field(default=Tags())
    """What happens to captions of the pictures' own each time."""

    def __post_init__(self) -> None:
        if self.captions not in SOURCES:
            raise UserError(f"data.captions must be one of {', '.join(SOURCES)}, got {self.captions!r}")
        if self.templates_file and "templates" not in self.captions:
            raise UserError(
                f"data.templates_file is not used with data.captions={self.captions}; "
                f"set data.captions=templates+{self.captions}, or templates_file=null"
            )
        if self.tags != Tags() and self.captions == "templates":
            raise UserError(
                "data.shuffle_tags, drop_tags and drop_caption are for the pictures' own captions; "
                "set data.captions=files, or leave them out"
            )

    def captions_of(self, images: Sequence[Path], concept: Concept) -> dict[Path, Captions]:
        """What may be said of each picture.

        Raises:
            UserError: a file that is needed is missing or says nothing usable.
        """
        word, own = concept.placeholder_token, self._texts(images)
        if "templates" not in self.captions:
            if self.captions == "files":  # file names hardly ever say it
                _tell_of_the_word(own, word)
            own = {image: tuple(with_word(text, word) for text in texts) for image, texts in own.items()}
            return {image: Captions(word, (OWN,), texts, self.tags) for image, texts in own.items()}
        frames = read_templates(self.templates_file) if self.templates_file else templates(concept.kind)
        if self.captions == "templates":
            if any(OWN in frame for frame in frames):
                raise UserError(
                    f"data.templates_file: {self.templates_file} has a place for {OWN}; set data.captions="
                    f"templates+files (a text file beside each picture) or templates+names (its file name)"
                )
            return dict.fromkeys(images, Captions(word, frames))
        frames = with_caption(frames)
        return {image: Captions(word, frames, texts, self.tags) for image, texts in own.items()}

    def place_of(self, image: Path) -> str:
        """Where the captions of a picture are written, for messages."""
        if "files" in self.captions:
            return next((path.name for path in map(image.with_suffix, CAPTIONS) if path.is_file()), image.name)
        if "names" in self.captions:
            return f"the name of {image.name}"
        return str(self.templates_file or "the standard templates")

    def _texts(self, images: Sequence[Path]) -> dict[Path, tuple[str, ...]]:
        if "files" in self.captions:
            return texts_of_files(images)
        if "names" in self.captions:
            return texts_of_names(images)
        if idle := [path.name for image in images for path in map(image.with_suffix, CAPTIONS) if path.is_file()]:
            warnings.warn(
                f"data.captions=templates makes no use of {listed(idle)} beside the pictures; "
                f"files or templates+files does",
                stacklevel=2,
            )
        return {}


def _tell_of_the_word(own: dict[Path, tuple[str, ...]], word: str) -> None:
    texts = [text for texts in own.values() for text in texts]
    if mute := [text for text in texts if not says(text, word)]:
        warnings.warn(
            f"data.captions: {len(mute)} of {len(texts)} captions do not say {word}, which is put in front: "
            f"{with_word(mute[0], word)!r}; write {{}} or {word} where it belongs",
            stacklevel=3,
        )
