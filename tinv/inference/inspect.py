"""Describes an embedding file: its format, tensors, tokens, norms, models and metadata."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from tinv import formats
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.formats.content import Content, sanitize
from tinv.formats.learned_embedding import widths
from tinv.formats.not_embeddings import is_lora
from tinv.formats.programs import NO, YES, find_format, who_loads
from tinv.formats.reading import EmbeddingFile
from tinv.formats.text_encoders import find_models
from tinv.formats.unusual_vectors import MAX_NORM, find_unusual_vectors
from tinv.token_parts import describe_parts, encoder_of, parts

if TYPE_CHECKING:
    from tinv.models.vocabulary import Vocabulary

_MAX_LINES = 12
_NUM_NEAREST = 5


def describe_file(path: Path, *, model: str | None = None) -> str:
    """Returns a report of a file: its format, its tensors, its tokens with their vectors and models, and its metadata.

    Args:
        path: the file, or the folder that holds it.
        model: a model whose nearest words are listed for each vector; None lists none.

    Raises:
        UserError: it is no embedding (the message says what it is), or the model is not usable or of another kind.
    """
    vocabularies: dict[str, Vocabulary] = {}
    if model:
        from tinv.models.vocabulary import load_vocabularies  # takes seconds, and most reports need no model

        vocabularies = load_vocabularies(model)
    return "\n\n".join(_describe(file, vocabularies) for file in formats.identify_all(path))


def _describe(file: EmbeddingFile, vocabularies: "Mapping[str, Vocabulary]") -> str:
    lines = [
        _line("file", f"{sanitize(str(file.content.path), 1000)} ({file.content.path.stat().st_size:,} bytes)"),
        _line("format", f"{file.layout}, in a {file.content.container} file"),
        *(_line("tensor", text) for text in islice(_list_tensors(file.content), _MAX_LINES)),
    ]
    for embedding in file.embeddings:
        lines += ["", _line("token", embedding.placeholder_token)]
        if names := parts(embedding.vectors):
            lines += [_line("", f"with its own vectors for {describe_parts(names)}")]
        lines += _describe_vectors(embedding, vocabularies)
        lines += _describe_models(file, embedding)
        if problem := find_unusual_vectors(embedding.vectors):
            lines += [_line("unusual", problem)]
    metadata = {sanitize(key, 40): sanitize(text, 90) for key, text in sorted(file.embeddings[0].provenance.items())}
    if metadata:
        width = max(map(len, metadata))
        lines += ["", *(f"{key:<{width}}  {text}" for key, text in metadata.items())]
    return "\n".join(lines)


def _describe_vectors(embedding: LearnedEmbedding, vocabularies: "Mapping[str, Vocabulary]") -> Iterator[str]:
    for name, vectors_KD in embedding.vectors.items():
        norms_K = vectors_KD.double().norm(dim=1)
        count = f"{len(vectors_KD)} vector{'s' if len(vectors_KD) > 1 else ''}"
        yield _line(name, f"{count} of width {vectors_KD.shape[1]}")
        encoder = encoder_of(name)
        vocabulary = vocabularies.get(encoder)
        if vocabularies and (vocabulary is None or vocabulary.table.shape[1] != vectors_KD.shape[1]):
            widths = {encoder: vocabulary.table.shape[1] for encoder, vocabulary in vocabularies.items()}
            raise UserError(
                f"--model takes vectors of width {widths}, {embedding.placeholder_token} has {vectors_KD.shape[1]} for "
                f"{encoder}; give a model of its kind"
            )
        nearest = vocabulary.nearest(vectors_KD, _NUM_NEAREST) if vocabulary else [[]] * _MAX_LINES
        for number in range(min(len(vectors_KD), _MAX_LINES)):
            words = ", ".join(f"{word} {cosine:.2f}" for word, cosine in nearest[number])
            yield _line(f"  {number}", f"norm {_format_norm(norms_K[number])}" + (f"  near {words}" if words else ""))
        if len(vectors_KD) > _MAX_LINES:
            yield _line("  ...", f"norms {_format_norm(norms_K.min())} to {_format_norm(norms_K.max())} in all")
        if vocabulary:
            yield _line("  model", f"median norm {vocabulary.table.norm(dim=1).median():.3f} of its words")


def _format_norm(norm: Tensor) -> str:
    return f"{norm:.3f}" if norm < MAX_NORM else f"{norm:.2g}"


def _describe_models(file: EmbeddingFile, embedding: LearnedEmbedding) -> Iterator[str]:
    """Yields the models with text encoders of these roles and widths, and the programs that load the file for each."""
    if parts(embedding.vectors):
        return
    of_vectors = widths(embedding)
    models = find_models(of_vectors, has_guessed_encoders=embedding.has_guessed_encoders)
    format = find_format(file.content, file.layout, embedding)
    for model in models:
        if len(model.widths) > len(of_vectors):
            continue
        loads = who_loads(format, model).items() if format else ()
        programs = [program if how == YES else f"{program} ({how.strip('`')})" for program, how in loads if how != NO]
        yield _line("model", ": ".join((model.title, ", ".join([*programs, "tinv.load_embedding"]))))
    if partly := [model.title for model in models if len(model.widths) > len(of_vectors)]:
        yield _line("partly", f"{', '.join(partly)} have these text encoders and others")


def _list_tensors(content: Content) -> Iterator[str]:
    """Yields the name, shape and dtype of the tensors as they are stored, one or two levels down."""
    for name in content.names:
        if is_lora([name]):
            continue
        value = content.root[name]
        entries = value.items() if isinstance(value, Mapping) else [("", value)]
        for key, tensor in entries:
            if isinstance(tensor, Tensor):
                dtype = str(tensor.dtype).removeprefix("torch.")
                yield f"{sanitize(f'{name} {key}'.strip())} {list(tensor.shape)} {dtype}"


def _line(name: str, text: str) -> str:
    return f"{name:<9} {text}"
