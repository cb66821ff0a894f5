"""Saves a whole diffusers pipeline with learned tokens in its tokenizers and text encoders; it loads without tinv."""

from collections.abc import Sequence
from copy import deepcopy
from itertools import permutations
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor, nn

from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.formats.negative import split_negative
from tinv.models.base import LatentDiffusion
from tinv.models.check_fit import check_fit
from tinv.models.sampling import build_scheduler
from tinv.runs.files import write_folder_atomically
from tinv.silence import quiet
from tinv.token_parts import describe_parts, parts


def write(folder: Path | str, learned: Sequence[LearnedEmbedding], model: LatentDiffusion) -> Path:
    """Save the model as a diffusers pipeline with the learned tokens, completely or not at all; returns the folder.

    The tokens are added by diffusers' own `load_textual_inversion`. The text encoders are saved in float32, like the
    learned vectors, the other components in their current precision. The model itself does not change.

    Args:
        folder: of the pipeline; an older pipeline there is replaced.
        learned: the embeddings.
        model: the frozen model.

    Raises:
        UserError: the model is quantized, the embeddings do not fit it or each other, or the folder cannot be written.
    """
    if model.quantization:
        raise UserError(f"A pipeline needs the plain weights of {model.name}: load it without quantization.")
    learned = check_fit(learned, model)
    learned = [half for embedding in learned for half in split_negative(embedding)]
    for embedding in learned:
        check(embedding)
    for token, other in permutations([embedding.placeholder_token.lower() for embedding in learned], 2):
        if token in other:
            raise UserError(
                f"One pipeline cannot contain {token} and {other}: diffusers would replace {token} inside {other}. "
                f"Rename one with --token, or export two pipelines."
            )
    with quiet():
        pipeline = model.pipeline(build_scheduler(None, model))
        if not hasattr(pipeline, "load_textual_inversion"):
            raise UserError(f"{model.family.pipeline} cannot load learned tokens, so none is exported with them.")
        for tokenizer, encoder, role in zip(
            model.family.tokenizers, model.family.text_encoders, model.tables, strict=True
        ):
            _add_tokens(pipeline, tokenizer, encoder, role, learned)
        with write_folder_atomically(folder, marker="model_index.json") as draft:
            try:
                pipeline.save_pretrained(draft)
            except SafetensorError as error:
                raise UserError(f"{folder} cannot be written: {error}. Is the disk full?") from error
            (draft / "README.md").write_text(_readme(learned, model), encoding="utf-8", newline="\n")
    return Path(folder)


def check(learned: LearnedEmbedding) -> None:
    """Refuse a token that a text encoder alone cannot represent.

    Raises:
        UserError: it has parts.
    """
    if names := parts(learned.vectors):
        raise UserError(
            f"A pipeline's files can hold ordinary tokens only, but {learned.placeholder_token} has vectors for "
            f"{describe_parts(names)}. Load it with tinv.load_embedding(pipe, file)."
        )


def _add_tokens(
    pipeline: Any, tokenizer_name: str, encoder_name: str, role: str, learned: Sequence[LearnedEmbedding]
) -> None:
    """Give a pipeline its own copy of a tokenizer and a text encoder, with the learned tokens as ordinary tokens.

    The encoder's configuration gets the true end-of-text token, where SDXL takes its pooled vector. Many say 2, which
    makes transformers take it at the largest id instead, and that is the id of a learned token.
    """
    tokenizer = deepcopy(getattr(pipeline, tokenizer_name))
    encoder = deepcopy(getattr(pipeline, encoder_name)).float().cpu()
    encoder.set_input_embeddings(nn.Embedding.from_pretrained(encoder.get_input_embeddings().weight))
    encoder.config.eos_token_id = tokenizer.eos_token_id
    pipeline.register_modules(**{tokenizer_name: tokenizer, encoder_name: encoder})
    for embedding in learned:
        token = embedding.placeholder_token
        if role not in embedding.vectors:
            continue
        if {token.lower(), f"{token.lower()}</w>"} & tokenizer.get_vocab().keys():
            raise UserError(
                f"{token} is a token of the model's own vocabulary, which the pipeline would lose. Rename it with "
                f"--token '<{token}>'."
            )
        vectors: dict[str, Tensor] = {token: embedding.vectors[role]}
        pipeline.load_textual_inversion(vectors, tokenizer=tokenizer, text_encoder=encoder)


def _readme(learned: Sequence[LearnedEmbedding], model: LatentDiffusion) -> str:
    rows = "\n".join(_table_row(embedding) for embedding in learned)
    kind = model.family.pipeline
    revision = f" at revision {model.revision}" if model.revision else ""
    return f"""# {model.name} with {", ".join(embedding.placeholder_token for embedding in learned)}

The pipeline `{model.name}`{revision}, with tokens that were learned by textual inversion (tinv).

| token | vectors | in diffusers, write | elsewhere, write |
|---|---|---|---|
{rows}

```python
from diffusers import {kind}

pipeline = {kind}.from_pretrained("path/to/this/folder")
pipeline("a photo of {learned[0].placeholder_token}").images[0].save("image.png")
```

diffusers' pipelines expand a token with several vectors by themselves. In other programs, or with the tokenizer alone,
write all of its tokens. There is no safety checker. The license of the pipeline is that of `{model.name}`.
"""


def _table_row(embedding: LearnedEmbedding) -> str:
    token, count = embedding.placeholder_token, len(next(iter(embedding.vectors.values())))
    tokens = " ".join([token, *(f"{token}_{i}" for i in range(1, count))])
    return f"| `{token}` | {count} | `{token}` | `{tokens}` |"
