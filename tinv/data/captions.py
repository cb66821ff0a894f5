"""The captions of training images: from templates, from text files beside the images, or from their file names.

In a template, `{}` stands for the placeholder token and `[caption]` for the image's own caption.
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

TOKEN_FIELD, CAPTION_FIELD = "{}", "[caption]"
CAPTION_SOURCES = ("templates", "files", "names", "templates+files", "templates+names")
_TEMPLATES = Path(__file__).with_name("templates")
CONTEXT_TEMPLATES: Path = _TEMPLATES / "context.txt"
"""Prompts with words behind the placeholder token: a setting, a second object or an art style."""


@dataclass(frozen=True)
class TagAugmentation:
    """Random changes to a caption that is a comma-separated list of tags, drawn anew for each training example."""

    shuffle_tags: bool = False
    """Shuffle the tags; the tag with the placeholder token stays first."""
    drop_tags: float = 0.0
    """Probability of dropping each tag; the tag with the placeholder token is never dropped."""
    drop_caption: float = 0.0
    """Probability of dropping the whole caption; the template, or the placeholder token alone, remains."""

    def __post_init__(self) -> None:
        for name in ("drop_tags", "drop_caption"):
            if not 0 <= (probability := getattr(self, name)) <= 1:
                raise UserError(f"data.{name}={probability}: a probability must be between 0 and 1.")

    def apply(self, caption: str, placeholder_token: str, generator: torch.Generator) -> str:
        """Returns the caption with its tags shuffled and dropped."""
        tags = [tag.strip() for tag in caption.split(",") if tag.strip()]
        required = [mentions(tag, placeholder_token) for tag in tags]
        order = list(range(len(tags)))
        if self.shuffle_tags:
            order = torch.randperm(len(tags), generator=generator).tolist()
            order.sort(key=lambda i: not required[i])
        keep = (torch.rand(len(tags), generator=generator) >= self.drop_tags).tolist()
        if float(torch.rand((), generator=generator)) < self.drop_caption:
            return ""
        return ", ".join(tags[i] for i in order if keep[i] or required[i])


@dataclass(frozen=True)
class Captions:
    """Every caption of one image: each template combined with each of the image's own captions."""

    placeholder_token: str
    templates: tuple[str, ...]
    own_captions: tuple[str, ...] = ("",)
    augmentation: TagAugmentation = field(default=TagAugmentation())

    def __len__(self) -> int:
        return len(self.templates) * len(self.own_captions)

    def __getitem__(self, i: int) -> str:
        return self._fill(i, self.own_captions[i // len(self.templates)])

    @property
    def is_augmented(self) -> bool:
        """Whether the captions change randomly."""
        return self.augmentation != TagAugmentation()

    def augmented(self, i: int, generator: torch.Generator) -> str:
        """Returns caption i with random changes to its tags."""
        own_caption = self.own_captions[i // len(self.templates)]
        return self._fill(i, self.augmentation.apply(own_caption, self.placeholder_token, generator))

    def _fill(self, i: int, own_caption: str) -> str:
        template = self.templates[i % len(self.templates)]
        if not own_caption:
            template = re.sub(rf"[\s,]*{re.escape(CAPTION_FIELD)}", "", template).strip(" ,") or TOKEN_FIELD
        return template.replace(CAPTION_FIELD, own_caption).replace(TOKEN_FIELD, self.placeholder_token)


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """Where captions come from."""

    captions: str = "templates"
    """One of CAPTION_SOURCES."""
    templates_file: Path | None = None
    """Custom templates; None is the standard list for the concept's kind."""
    augmentation: TagAugmentation = field(default=TagAugmentation())
    """Random changes to the images' own captions."""

    def __post_init__(self) -> None:
        if self.captions not in CAPTION_SOURCES:
            raise UserError(f"data.captions={self.captions}: must be one of {', '.join(CAPTION_SOURCES)}.")
        if self.templates_file and "templates" not in self.captions:
            raise UserError(
                f"data.templates_file={self.templates_file}: not used with data.captions={self.captions}. "
                f"Set data.captions=templates+{self.captions}, or data.templates_file=null."
            )
        if self.augmentation != TagAugmentation() and self.captions == "templates":
            raise UserError(
                "data.shuffle_tags, data.drop_tags and data.drop_caption change the images' own captions, but "
                "data.captions=templates uses none. Set data.captions=files, or leave them at their defaults."
            )

    def load_captions(self, images: Sequence[Path], concept: Concept) -> dict[Path, Captions]:
        """Returns the captions of each image.

        Raises:
            UserError: a required file is missing or has no usable text.
        """
        token, own = concept.placeholder_token, self._load_own_captions(images)
        if "templates" not in self.captions:
            if self.captions == "files":  # file names rarely mention the placeholder token
                _warn_about_inserted_token(own, token)
            own = {image: tuple(insert_placeholder(text, token) for text in texts) for image, texts in own.items()}
            return {image: Captions(token, (CAPTION_FIELD,), texts, self.augmentation) for image, texts in own.items()}
        templates = read_templates(self.templates_file) if self.templates_file else load_templates(concept.kind)
        if self.captions == "templates":
            if any(CAPTION_FIELD in template for template in templates):
                raise UserError(
                    f"data.templates_file={self.templates_file}: a template contains {CAPTION_FIELD}, but "
                    f"data.captions=templates has no captions to insert. Set data.captions=templates+files (a text "
                    f"file beside each image) or data.captions=templates+names (the file names)."
                )
            return dict.fromkeys(images, Captions(token, templates))
        templates = add_caption_field(templates)
        return {image: Captions(token, templates, texts, self.augmentation) for image, texts in own.items()}

    def source_of(self, image: Path) -> str:
        """Returns the name of the file that an image's captions come from, for messages."""
        if "files" in self.captions:
            return next((path.name for path in _caption_files(image)), image.name)
        if "names" in self.captions:
            return f"the name of {image.name}"
        return str(self.templates_file or "the standard templates")

    def _load_own_captions(self, images: Sequence[Path]) -> dict[Path, tuple[str, ...]]:
        if "files" in self.captions:
            return read_caption_files(images)
        if "names" in self.captions:
            return captions_from_names(images)
        if unused := [path.name for image in images for path in _caption_files(image)]:
            warnings.warn(
                f"data.captions=templates ignores the caption files {format_names(unused)}. To use them, set "
                f"data.captions=files or data.captions=templates+files.",
                stacklevel=2,
            )
        return {}


def add_caption_field(templates: Sequence[str]) -> tuple[str, ...]:
    """Appends `[caption]` to the templates that do not contain it."""
    return tuple(text if CAPTION_FIELD in text else f"{text}, {CAPTION_FIELD}" for text in templates)


def mentions(text: str, placeholder_token: str) -> bool:
    """Whether a text contains the placeholder token as a whole word, or the field for it."""
    return TOKEN_FIELD in text or re.search(whole_word_regex(placeholder_token), text, re.IGNORECASE) is not None


def insert_placeholder(text: str, placeholder_token: str) -> str:
    """Fills the placeholder token into a text's `{}`, or puts it in front if the text does not mention it."""
    is_mentioned = mentions(text, placeholder_token)
    return text.replace(TOKEN_FIELD, placeholder_token) if is_mentioned else f"{placeholder_token}, {text}"


def read_caption_files(images: Sequence[Path]) -> dict[Path, tuple[str, ...]]:
    """Returns the lines of the `.txt` or `.caption` file beside each image; each line is a caption.

    Raises:
        UserError: naming the images without a caption file or with two, or an unusable file.
    """
    files = {image: _caption_files(image) for image in images}
    if missing := [image.name for image in images if not files[image]]:
        raise UserError(
            f"data.captions=files: {format_names(missing)}: no caption file beside the image. Write a caption into "
            f"{Path(missing[0]).with_suffix('.txt')}, or set data.captions=templates."
        )
    if twofold := [" and ".join(path.name for path in paths) for paths in files.values() if len(paths) > 1]:
        raise UserError(f"data.captions=files: an image has two caption files: {format_names(twofold)}. Delete one.")
    return {image: _read_lines(paths[0]) for image, paths in files.items()}


def captions_from_names(images: Sequence[Path]) -> dict[Path, tuple[str, ...]]:
    """Returns the words in each image's file name: `02_a_red-haired toy (3).jpg` gives `a red-haired toy`.

    Raises:
        UserError: naming the files whose names contain no letters.
    """
    captions: dict[Path, tuple[str, ...]] = {}
    for image in images:
        words = re.sub(r"^\d+[\s_.-]+|[\s_-]+\d+$|\s*\(\d+\)$", "", image.stem)
        captions[image] = (" ".join(words.replace("_", " ").split()),)
    if wordless := [image.name for image, (text,) in captions.items() if not re.search(r"[^\W\d_]", text)]:
        raise UserError(
            f"data.captions=names: no words in the file name of {format_names(wordless)}. Rename the images to "
            f"describe them, such as 'on a wooden table.jpg', or set data.captions=templates."
        )
    return captions


def load_templates(kind: str) -> tuple[str, ...]:
    """Returns the standard caption templates for a kind of concept, `object` or `style`.

    These are the lists that published embeddings were trained with (Gal et al. 2022, arXiv 2208.01618, appendix D):
    27 for objects; 19 for styles, two of them twice, which doubles their sampling weight.
    """
    return read_templates(_TEMPLATES / f"{kind}.txt")


def read_templates(path: Path, setting: str = "data.templates_file") -> tuple[str, ...]:
    """Returns the templates in a text file: one per line, each with one `{}`; blank lines and `#` comments are skipped.

    Args:
        path: of the file.
        setting: the config key that names the file, for messages.

    Raises:
        UserError: the file cannot be read, has no template, or has a template without exactly one `{}`.
    """
    templates = tuple(line for line in _read_lines(path, setting) if not line.startswith("#"))
    if not templates:
        raise UserError(f"{setting}: {path} has no template. Write one per line, such as 'a photo of a {{}}'.")
    for template in templates:
        remainder = template.replace(TOKEN_FIELD, "", 1)
        if template == remainder or "{" in remainder or "}" in remainder:
            is_a1111 = "[name]" in template or "[filewords]" in template
            hint = " AUTOMATIC1111's [name] is {} here, and [filewords] is [caption]." if is_a1111 else ""
            raise UserError(
                f"{setting}: {path}: {template!r} needs exactly one {{}} for the placeholder token, and no other "
                f"braces.{hint}"
            )
    return templates


def _caption_files(image: Path) -> list[Path]:
    return [path for path in map(image.with_suffix, CAPTION_SUFFIXES) if path.is_file()]


def _read_lines(path: Path, setting: str = "data.captions") -> tuple[str, ...]:
    """Returns the lines of a text file that are not blank."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{setting}: cannot read {path} ({error}). It must be a text file in UTF-8.") from error
    if not (texts := tuple(line for line in lines if line)):
        raise UserError(f"{setting}: {path} is empty. Write one or more lines of text into it.")
    return texts


def _warn_about_inserted_token(own_captions: dict[Path, tuple[str, ...]], token: str) -> None:
    texts = [text for texts in own_captions.values() for text in texts]
    if unmentioned := [text for text in texts if not mentions(text, token)]:
        warnings.warn(
            f"data.captions: {len(unmentioned)} of {len(texts)} captions do not mention {token}, so it was put in "
            f"front: {insert_placeholder(unmentioned[0], token)!r}. Write {{}} or {token} where it belongs.",
            stacklevel=3,
        )
