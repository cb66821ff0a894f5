"""Reads the embedding file of any program by its content, and refuses any other file with a message."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from torch import Tensor

from tinv.errors import UserError
from tinv.formats import (
    a1111,
    concept_prism,
    diffusers,
    emb_params,
    encoder_keys,
    encoder_list,
    lora_bundle,
    multipart,
    not_embeddings,
    pivotal_tuning,
)
from tinv.formats.content import Content, check_size, join_names, sanitize
from tinv.formats.diffusers_files import join_files
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.metadata import drop_derived_keys
from tinv.formats.negative import join_negative
from tinv.formats.placeholder import check_token
from tinv.formats.png_container import is_image, open_image
from tinv.formats.safetensors_container import is_safetensors, open_safetensors
from tinv.formats.torch_container import is_torch, open_torch
from tinv.runs.layout import concept_dirs


class Layout(Protocol):
    """A module that reads one way of naming the vectors in a file."""

    NAME: str

    def read(self, content: Content) -> list[LearnedEmbedding] | None:
        """Returns the embeddings of a file of this layout, None for a file of another."""


LAYOUTS: tuple[Layout, ...] = (
    multipart,
    lora_bundle,
    pivotal_tuning,
    not_embeddings,
    a1111,
    emb_params,
    encoder_keys,
    encoder_list,
    concept_prism,
    diffusers,
)
"""The first layout that matches reads the file; diffusers' has no fixed names, so it is the last."""
_CONTAINERS = ((is_safetensors, open_safetensors), (is_torch, open_torch), (is_image, open_image))
_FILE_NAMES = (diffusers.FILE_NAME, "learned_embeds.bin", "embeddings.pti", concept_prism.FILE_NAME)


@dataclass(frozen=True)
class EmbeddingFile:
    """An identified file."""

    content: Content
    layout: str
    """The layout's name, e.g. `AUTOMATIC1111`."""
    embeddings: list[LearnedEmbedding]
    """The embeddings in the file, usually one."""


def read(path: Path | str, *, token: str | None = None) -> LearnedEmbedding:
    """Returns the only embedding in a file.

    Args:
        path: the file, or the folder of a run or of the sd-concepts-library that holds it.
        token: the placeholder token, instead of the one that the file names.

    Raises:
        UserError: there is no such file, it is damaged, it is something else, or it holds several embeddings.
    """
    embeddings = read_all(path, token=token)
    if len(embeddings) > 1:
        remedy = f"make a file of each with: tinv convert {path} FOLDER --to diffusers"
        if len(folders := _concept_paths(Path(path))) > 1:
            remedy = f"give the folder of one: {' or '.join(map(str, folders))}"
        raise UserError(f"{path} holds {len(embeddings)} tokens ({_tokens(embeddings)}), one is needed; {remedy}")
    return embeddings[0]


def read_all(path: Path | str, *, token: str | None = None) -> list[LearnedEmbedding]:
    """Returns all the embeddings in a file or of a run, usually one.

    Raises:
        UserError: as `read`, or `token` would name several embeddings.
    """
    files = identify_all(path)
    embeddings = [embedding for file in files for embedding in file.embeddings]
    if token is None:
        return embeddings
    if len(embeddings) > 1:
        raise UserError(f"{path} holds {len(embeddings)} tokens ({_tokens(embeddings)}); token can name only one")
    name = check_token(files[0].content.path, token)
    return [replace(embeddings[0], placeholder_token=name)]


def identify_all(path: Path | str) -> list[EmbeddingFile]:
    """Identifies a file, or each of the files of a run with several concepts, in the order of the folders' names.

    Raises:
        UserError: as `read`.
    """
    return [identify(file) for file in _concept_paths(Path(path))]


def identify(path: Path | str) -> EmbeddingFile:
    """Returns the layout of a file and the embeddings in it.

    Raises:
        UserError: as `read`.
    """
    content = _open(_find_file(Path(path)))
    layout, embeddings = _interpret_files(content)
    embeddings = [
        join_negative(content.path, each, lambda file: _interpret_files(_open(file))[1]) for each in embeddings
    ]
    return EmbeddingFile(content, layout, [drop_derived_keys(embedding) for embedding in embeddings])


def _tokens(embeddings: list[LearnedEmbedding]) -> str:
    return join_names([embedding.placeholder_token for embedding in embeddings])


def _concept_paths(path: Path) -> list[Path]:
    return concept_dirs(path) if path.is_dir() else [path]


def _find_file(path: Path) -> Path:
    """Returns the embedding file in a folder, by the usual names; any other path unchanged."""
    if not path.is_dir():
        return path
    for name in _FILE_NAMES:
        if (path / name).is_file():
            return path / name
    raise UserError(
        f"the folder {path} holds no {' or '.join(_FILE_NAMES[:2])}; give the folder of a finished run, or a file"
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
        raise UserError(f"{path} is empty; was its download interrupted, or the disk full?")
    for matches, open_container in _CONTAINERS:
        if matches(head):
            return check_size(open_container(path))
    if head.startswith(b"\x93NUMPY"):
        raise UserError(
            f"{path} is a NumPy file, as the Flax script writes them: a pickle that could run code; load it "
            f"yourself if you trust it, and save its vectors with torch.save({{token: tensor}}, ...)"
        )
    raise UserError(
        f"{path} is no embedding file: it begins with {sanitize(head[:16].decode('latin-1'))!r}; give the "
        f".safetensors, .pt, .bin or .png file itself (not a web page or a text)"
    )


def _interpret_files(content: Content) -> tuple[str, list[LearnedEmbedding]]:
    """Returns the layout and the embeddings of a file, with the vectors of the files of other text encoders."""
    layout, embeddings = interpret(content)
    if layout == diffusers.NAME:
        embeddings = join_files(content.path, embeddings, lambda file: interpret(_open(file))[1])
    return layout, embeddings


def interpret(content: Content) -> tuple[str, list[LearnedEmbedding]]:
    """Returns the layout and the embeddings of an opened file.

    Raises:
        UserError: it is no embedding.
    """
    for layout in LAYOUTS:
        embeddings = layout.read(content)
        if embeddings:
            return layout.NAME, embeddings
    if not content.names:
        raise UserError(f"{content.path} holds a {type(content.root).__name__}, not a token and its vectors")
    entries = [f"{name} {_describe(content.root[name])}" for name in content.names[:5]]
    raise UserError(f"{content.path} is no embedding that tinv knows: it holds {join_names(entries)}")


def _describe(value: object) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__
