"""What an embedding file is, in words and numbers."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from tinv import formats
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.formats.content import Content, shown
from tinv.formats.not_embeddings import is_lora
from tinv.formats.reading import Found
from tinv.token_parts import describe_parts, encoder_of, parts

if TYPE_CHECKING:
    from tinv.models.vocabulary import Vocabulary

_MOST = 12
_NEAREST = 5


def report(path: Path, *, model: str | None = None) -> str:
    """What a file holds: its format, its tensors, its words with their vectors, and what it says of itself.

    Args:
        path: the file, or the folder that holds it.
        model: a model whose words the vectors are held against; None leaves that out.

    Raises:
        UserError: it is no embedding (the message says what it is), or the model is not usable or of another kind.
    """
    vocabularies = _vocabularies(model) if model else {}
    return "\n\n".join(_report(found, vocabularies) for found in formats.recognise_all(path))


def _report(found: Found, vocabularies: "Mapping[str, Vocabulary]") -> str:
    lines = [
        _line("file", f"{found.content.path} ({found.content.path.stat().st_size:,} bytes)"),
        _line("format", f"{found.layout}, in a {found.content.container} file"),
        *(_line("tensor", text) for text in islice(_tensors(found.content), _MOST)),
    ]
    for word in found.learned:
        lines += ["", _line("word", word.placeholder_token)]
        if known := parts(word.vectors):
            lines += [_line("", f"with vectors of its own for {describe_parts(known)}")]
        lines += _vectors(word, vocabularies)
    told = {shown(key, 40): shown(text, 90) for key, text in sorted(found.learned[0].provenance.items())}
    if told:
        lines += ["", *(f"{key:<{max(map(len, told))}}  {text}" for key, text in told.items())]
    return "\n".join(lines)


def _vocabularies(model: str) -> "dict[str, Vocabulary]":
    from tinv.models.vocabulary import load_vocabularies  # takes seconds, and most reports need no model

    return load_vocabularies(model)


def _vectors(word: LearnedEmbedding, vocabularies: "Mapping[str, Vocabulary]") -> Iterator[str]:
    for name, rows_KD in word.vectors.items():
        norms = rows_KD.norm(dim=1)
        count = f"{len(rows_KD)} vector{'s' if len(rows_KD) > 1 else ''}"
        yield _line(name, f"{count} of width {rows_KD.shape[1]}")
        encoder = encoder_of(name)
        vocabulary = vocabularies.get(encoder)
        if vocabularies and (vocabulary is None or vocabulary.table.shape[1] != rows_KD.shape[1]):
            widths = {each: known.table.shape[1] for each, known in vocabularies.items()}
            raise UserError(
                f"--model takes vectors of width {widths}, {word.placeholder_token} has {rows_KD.shape[1]} for {encoder}; "
                f"give a model of its kind"
            )
        nearest = vocabulary.nearest(rows_KD, _NEAREST) if vocabulary else [[]] * len(rows_KD)
        for number in range(min(len(rows_KD), _MOST)):
            words = ", ".join(f"{near} {cosine:.2f}" for near, cosine in nearest[number])
            yield _line(f"  {number}", f"norm {norms[number]:.3f}" + (f"  near {words}" if words else ""))
        if len(rows_KD) > _MOST:
            yield _line("  ...", f"norms {norms.min():.3f} to {norms.max():.3f} in all")
        if vocabulary:
            yield _line("  model", f"norm {vocabulary.table.norm(dim=1).median():.3f} in the middle of its words")


def _tensors(content: Content) -> Iterator[str]:
    """The tensors as they are stored, one or two levels down."""
    for name in content.names:
        if is_lora([name]):
            continue
        value = content.root[name]
        inside = value.items() if isinstance(value, Mapping) else [("", value)]
        for part, tensor in inside:
            if isinstance(tensor, Tensor):
                kind = str(tensor.dtype).removeprefix("torch.")
                yield f"{shown(f'{name} {part}'.strip())} {list(tensor.shape)} {kind}"


def _line(name: str, text: str) -> str:
    return f"{name:<9} {text}"
