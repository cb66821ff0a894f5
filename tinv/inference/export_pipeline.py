"""A whole diffusers pipeline with learned words in its tokenizers and text encoders: it loads without tinv.

K rows, V words, D width.
"""

from collections.abc import Sequence
from copy import deepcopy
from itertools import permutations
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor, nn

from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.formats.negative import halves
from tinv.models.base import LatentDiffusion
from tinv.models.check_fit import check_fit
from tinv.runs.files import atomic_folder
from tinv.silence import quiet
from tinv.token_parts import describe_parts, parts


def write(folder: Path | str, learned: Sequence[LearnedEmbedding], model: LatentDiffusion) -> Path:
    """Save the model as a diffusers pipeline that knows the words, whole or not at all.

    The words go in through diffusers' own `load_textual_inversion`. The text encoders are saved in float32, as the
    words are, the other parts as they are in memory; the model itself stays as it is.

    Args:
        folder: the pipeline's; an older pipeline there is replaced.
        learned: the words.
        model: the frozen model.

    Returns:
        The folder.

    Raises:
        UserError: the words do not fit the model or each other, or the place cannot be written to.
    """
    check_fit(learned, model)
    learned = [half for word in learned for half in halves(word)]
    for word in learned:
        check(word)
    _check_words([word.placeholder_token.lower() for word in learned])
    with quiet():
        from diffusers import DPMSolverMultistepScheduler

        pipeline = model.pipeline(DPMSolverMultistepScheduler.from_config(model.scheduler.config))
        for number, encoder in enumerate(model.tables):
            _teach(pipeline, "" if number == 0 else f"_{number + 1}", encoder, learned)
        with atomic_folder(folder, mark="model_index.json") as draft:
            try:
                pipeline.save_pretrained(draft)
            except SafetensorError as error:
                raise UserError(f"cannot write {folder}: {error}; is the disk full?") from error
            (draft / "README.md").write_text(_readme(learned, model), encoding="utf-8", newline="\n")
    return Path(folder)


def check(learned: LearnedEmbedding) -> None:
    """Refuse a word that a text encoder alone cannot know.

    Raises:
        UserError: it has parts.
    """
    if known := parts(learned.vectors):
        raise UserError(
            f"a pipeline's files have room for ordinary words, {learned.placeholder_token} has rows of its own for "
            f"{describe_parts(known)}; tinv.inference.load_pipeline.load(pipe, file) makes a pipeline use it"
        )


def _teach(pipeline: Any, which: str, name: str, learned: Sequence[LearnedEmbedding]) -> None:
    """Give a pipeline a text encoder and a tokenizer of its own, without the lens and with the words.

    The encoder's configuration gets the true end of text, where SDXL's pooled vector is taken: many say 2, which makes
    transformers take it at the largest id instead, and that is a learned word's.
    """
    tokenizer = deepcopy(getattr(pipeline, f"tokenizer{which}"))
    encoder = deepcopy(getattr(pipeline, f"text_encoder{which}")).float().cpu()
    encoder.set_input_embeddings(nn.Embedding.from_pretrained(encoder.get_input_embeddings().weight))
    encoder.config.eos_token_id = tokenizer.eos_token_id
    pipeline.register_modules(**{f"tokenizer{which}": tokenizer, f"text_encoder{which}": encoder})
    for word in learned:
        if {word.placeholder_token.lower(), f"{word.placeholder_token.lower()}</w>"} & tokenizer.get_vocab().keys():
            raise UserError(
                f"{word.placeholder_token} is one of the model's own words, which a pipeline would lose; call it otherwise "
                f"with --token '<{word.placeholder_token}>'"
            )
        rows: dict[str, Tensor] = {word.placeholder_token: word.vectors[name]}
        pipeline.load_textual_inversion(rows, tokenizer=tokenizer, text_encoder=encoder)


def _check_words(words: Sequence[str]) -> None:
    for word, other in permutations(words, 2):
        if word in other:
            raise UserError(
                f"a pipeline cannot hold {word} and {other}: diffusers takes the one for a part of the other; "
                f"make a pipeline of each, or give other words"
            )


def _readme(learned: Sequence[LearnedEmbedding], model: LatentDiffusion) -> str:
    words = "\n".join(_entry(word) for word in learned)
    kind = "StableDiffusionXLPipeline" if len(model.tables) > 1 else "StableDiffusionPipeline"
    revision = f" at revision {model.revision}" if model.revision else ""
    return f"""# {model.name} with {", ".join(word.placeholder_token for word in learned)}

The pipeline `{model.name}`{revision}, whose text encoder and tokenizer were taught by textual inversion (tinv):

| word | vectors | in diffusers, write | elsewhere, write |
|---|---|---|---|
{words}

```python
from diffusers import {kind}

pipeline = {kind}.from_pretrained("path/to/this/folder")
pipeline("a photo of {learned[0].placeholder_token}").images[0].save("picture.png")
```

diffusers' pipelines turn a word of several vectors into its parts by themselves. With the tokenizer alone, as in other
programs, write the parts. There is no safety checker. The license of the pipeline is that of `{model.name}`.
"""


def _entry(word: LearnedEmbedding) -> str:
    count = len(next(iter(word.vectors.values())))
    parts = " ".join([word.placeholder_token, *(f"{word.placeholder_token}_{i}" for i in range(1, count))])
    return f"| `{word.placeholder_token}` | {count} | `{word.placeholder_token}` | `{parts}` |"
