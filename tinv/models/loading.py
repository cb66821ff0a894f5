"""Any published Stable Diffusion, from wherever it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from transformers import CLIPTokenizer

from tinv.errors import UserError
from tinv.formats import encoder_of_width
from tinv.models.components import load_modules, load_scheduler
from tinv.models.families import SDXL, read_json
from tinv.models.places import explain_failure
from tinv.models.quiet import quiet
from tinv.models.runtime import check_runtime, prepare
from tinv.models.sources import Source, find, weights_folder
from tinv.models.stable_diffusion import StableDiffusion
from tinv.models.stable_diffusion_xl import ENCODERS, StableDiffusionXL


def load(
    pretrained: str,
    *,
    revision: str | None = None,
    variant: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    attention: Literal["sdpa", "xformers"] = "sdpa",
    gradient_checkpointing: bool = False,
    compile: bool = False,
    tf32: bool = False,
) -> StableDiffusion | StableDiffusionXL:
    """A frozen model, of the family that its files say.

    Args:
        pretrained: a pipeline folder, `pkg://package/folder`, or an id of the Hugging Face Hub.
        revision: of an id: a commit, a branch or a tag, for every part alike; None is the main branch.
        variant: of the weights, for every part alike, as fp16 in `model.fp16.safetensors`; None is the plain ones.
        dtype: the precision of the frozen weights, whatever they were saved in. The learned rows and the loss are
            float32 in any case, and so is a VAE that float16 would overflow.
        attention: what computes the U-Net's: torch's own code, or xformers.
        gradient_checkpointing: keep less for the backward pass and compute it again; the gradients are the same.
        compile: the U-Net's training step, for one shape of batches.
        tf32: faster float32 matrix products of less precision, in the whole process.

    Raises:
        UserError: there is no such model, it is not whole, it is of another kind, the network does not give it, or this
            machine cannot run it as asked.
    """
    check_runtime(attention=attention, compile=compile)
    source = find(pretrained, revision=revision)
    tokenizers = load_tokenizers(pretrained, revision=revision)
    folder = weights_folder(source, variant=variant)
    with _explained(pretrained):
        modules = load_modules(
            folder, source.family, source.family.modules, variant=variant, dtype=getattr(torch, dtype)
        )
        scheduler = load_scheduler(source.folder)
    parts = dict(zip(source.family.tokenizers, tokenizers.values(), strict=True)) | modules
    common = {"name": pretrained, "revision": source.revision, "scheduler": scheduler}
    model: StableDiffusion | StableDiffusionXL
    if source.family is SDXL:
        index = read_json(source.folder / "model_index.json", place=pretrained)
        zero_for_nothing = index.get("force_zeros_for_empty_prompt", True)
        model = StableDiffusionXL(**common, **parts, zero_for_nothing=zero_for_nothing)
    else:
        model = StableDiffusion(**common, **parts)
    prepare(model, attention=attention, gradient_checkpointing=gradient_checkpointing, compile=compile, tf32=tf32)
    return model


def load_tokenizers(pretrained: str, *, revision: str | None = None) -> dict[str, CLIPTokenizer]:
    """The tokenizer of each text encoder, in a moment: enough to check a concept's words before any weight is loaded.

    Args:
        pretrained: as for `load`.
        revision: likewise.

    Raises:
        UserError: as `load`, as far as it can be told without the weights.
    """
    source = find(pretrained, revision=revision)
    texts = {
        name: read_json(source.folder / name / "config.json", place=pretrained) for name in source.family.text_encoders
    }
    encoders = ENCODERS if source.family is SDXL else (encoder_of_width(texts["text_encoder"].get("hidden_size", 512)),)
    with _explained(pretrained):
        return {
            encoder: _tokenizer(source, folder, length=text.get("max_position_embeddings", 77))
            for encoder, folder, text in zip(encoders, source.family.tokenizers, texts.values(), strict=True)
        }


def _tokenizer(source: Source, subfolder: str, *, length: int) -> CLIPTokenizer:
    tokenizer = CLIPTokenizer.from_pretrained(source.folder, subfolder=subfolder)
    tokenizer.model_max_length = min(tokenizer.model_max_length, length)  # some files do not say it
    return tokenizer


@contextmanager
def _explained(pretrained: str) -> Iterator[None]:
    """What the libraries raise in the block, in one sentence."""
    try:
        with quiet():
            yield
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise explain_failure(pretrained, error) from error
