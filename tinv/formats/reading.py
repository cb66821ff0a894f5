"""Reads an embedding file of any program by its content; anything else is refused in words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from tinv.errors import UserError
from tinv.formats import a1111, diffusers, emb_params, sdxl
from tinv.formats import encoder_list as stacked
from tinv.formats import lora_bundle as bundled
from tinv.formats import multipart as parted
from tinv.formats import not_embeddings as refusals
from tinv.formats import pivotal_tuning as pti
from tinv.formats.content import Content, listed, shown
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.metadata import without_derived
from tinv.formats.negative import with_negative
from tinv.formats.placeholder import usable
from tinv.formats.png_container import is_picture, open_picture
from tinv.formats.safetensors_container import is_safetensors, open_safetensors
from tinv.formats.sdxl_second_file import with_second
from tinv.formats.torch_container import is_torch, open_torch
from tinv.runs.layout import concept_dirs


class Layout(Protocol):
    """A module that knows one way of calling the vectors of a word."""

    NAME: str

    def read(self, content: Content) -> list[LearnedEmbedding] | None:
        """The words of a file of this layout, None for a file of another."""


LAYOUTS: tuple[Layout, ...] = (parted, bundled, pti, refusals, a1111, emb_params, sdxl, stacked, diffusers)
"""The first that knows a file reads it; diffusers', which has no names of its own, is asked last."""
_CONTAINERS = ((is_safetensors, open_safetensors), (is_torch, open_torch), (is_picture, open_picture))
_NAMES = ("learned_embeds.safetensors", "learned_embeds.bin", "embeddings.pti")


@dataclass(frozen=True)
class Found:
    """What a file turned out to be."""

    content: Content
    layout: str
    """The layout's name, e.g. `AUTOMATIC1111`."""
    learned: list[LearnedEmbedding]
    """The words in it; one, mostly."""


def read(path: Path | str, *, token: str | None = None) -> LearnedEmbedding:
    """The one learned word in a file.

    Args:
        path: the file, or the folder of a run or of the sd-concepts-library that holds it.
        token: what the word is to be called, instead of what the file says.

    Raises:
        UserError: there is no such file, it is not whole, it is something else, or it holds several words.
    """
    learned = read_all(path, token=token)
    if len(learned) > 1:
        remedy = f"make a file of each with: tinv convert {path} FOLDER --to diffusers"
        if len(places := _places(Path(path))) > 1:
            remedy = f"give the folder of one: {' or '.join(map(str, places))}"
        raise UserError(
            f"{path} holds {len(learned)} words ({listed([word.placeholder_token for word in learned])}), where one is "
            f"needed; {remedy}"
        )
    return learned[0]


def read_all(path: Path | str, *, token: str | None = None) -> list[LearnedEmbedding]:
    """All the learned words in a file, or of a run: one, mostly.

    Raises:
        UserError: as `read`, or `token` would name several words.
    """
    found = recognise_all(path)
    learned = [word for each in found for word in each.learned]
    if token is None:
        return learned
    if len(learned) > 1:
        words = listed([word.placeholder_token for word in learned])
        raise UserError(f"{path} holds {len(learned)} words ({words}); token can name only one")
    return [LearnedEmbedding(usable(found[0].content.path, token), learned[0].vectors, learned[0].provenance)]


def recognise_all(path: Path | str) -> list[Found]:
    """What a file is, or each of the files of a run with several concepts, by the folders' names.

    Raises:
        UserError: as `read`.
    """
    return [recognise(place) for place in _places(Path(path))]


def recognise(path: Path | str) -> Found:
    """What a file is, and the words in it.

    Raises:
        UserError: as `read`.
    """
    content = _open(_file(Path(path)))
    layout, learned = _interpret(content)
    if layout == diffusers.NAME:
        learned = with_second(content.path, learned, lambda place: _interpret(_open(place))[1])
    learned = [with_negative(content.path, word, recognise) for word in learned]
    return Found(content, layout, [without_derived(word) for word in learned])


def _places(place: Path) -> list[Path]:
    return concept_dirs(place) if place.is_dir() else [place]


def _file(place: Path) -> Path:
    """The file in a folder, by the names that programs give it; any other place as it is."""
    if not place.is_dir():
        return place
    for name in _NAMES:
        if (place / name).is_file():
            return place / name
    raise UserError(
        f"the folder {place} holds no {' or '.join(_NAMES[:2])}; give a run that has ended, or the file itself"
    )


def _open(path: Path) -> Content:
    if not path.is_file():
        raise UserError(f"there is no embedding file {path}; give a run folder or an embedding file")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise UserError(f"{path} cannot be opened ({error.strerror})") from error
    if not head:
        raise UserError(f"{path} is empty; was its download or its disk interrupted?")
    for fits, open_container in _CONTAINERS:
        if fits(head):
            return open_container(path)
    if head.startswith(b"\x93NUMPY"):
        raise UserError(
            f"{path} is a NumPy file, as the Flax script writes them: a pickle that could run code; load it where you "
            f"trust it and save its vectors with torch.save({{word: tensor}}, ...)"
        )
    raise UserError(
        f"{path} is no embedding file: it begins with {shown(head[:16].decode('latin-1'))!r}; give the .safetensors, "
        f".pt, .bin or .png file itself (not a web page or a text)"
    )


def _interpret(content: Content) -> tuple[str, list[LearnedEmbedding]]:
    for layout in LAYOUTS:
        learned = layout.read(content)
        if learned:
            return layout.NAME, learned
    if not content.names:
        raise UserError(
            f"{content.path} holds a {type(content.root).__name__}, not a word and its vectors; it is no embedding file"
        )
    held = [f"{name} {_kind(content.root[name])}" for name in content.names[:5]]
    raise UserError(f"{content.path} is no embedding that tinv knows: it holds {listed(held)}")


def _kind(value: object) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__
