"""Any published Stable Diffusion, from wherever it is."""

from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

from tinv.errors import UserError
from tinv.models.base import LatentDiffusion
from tinv.models.checkpoint import VAE, read_checkpoint
from tinv.models.components import load_module, load_modules, load_scheduler
from tinv.models.families import SDXL, read_json
from tinv.models.runtime import check_runtime, prepare
from tinv.models.single_file import convert_modules, convert_vae
from tinv.models.sources import Source, find, part_place, weights_of
from tinv.models.stable_diffusion import StableDiffusion
from tinv.models.stable_diffusion_xl import StableDiffusionXL
from tinv.models.tokenizers import tokenizers_of
from tinv.silence import explained


def load(
    pretrained: str,
    *,
    revision: str | None = None,
    variant: str | None = None,
    vae: str | None = None,
    tokenizer: str | None = None,
    config: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    attention: Literal["sdpa", "xformers"] = "sdpa",
    gradient_checkpointing: bool = False,
    compile: bool = False,
    tf32: bool = False,
) -> LatentDiffusion:
    """A frozen model, of the family that its files say.

    Args:
        pretrained: a pipeline folder, `pkg://package/folder`, an id of the Hugging Face Hub, or a single .safetensors
            or .ckpt file in the layout of the original programs.
        revision: of an id: a commit, a branch or a tag, for every part alike; None is the main branch.
        variant: of the weights, for every part alike, as fp16 in `model.fp16.safetensors`; None is the plain ones.
        vae: another VAE: a folder, a file, or an id of the Hub, also as `id@revision`.
        tokenizer: other tokenizers: a folder, or an id of the Hub, also as `id@revision`.
        config: for a single file, the folder or the Hub's id of a pipeline with fitting configurations and tokenizers;
            None takes those of Stable Diffusion 1.5 or XL from the Hub.
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
    source = find(pretrained, revision=revision, config=config)
    tokenizers = tokenizers_of(source, tokenizer)
    precision = getattr(torch, dtype)
    vae_place = part_place(vae, setting="model.vae", part="vae") if vae else None
    weights = weights_of(source, variant=variant, without="vae" if vae else None)
    names = [name for name in source.family.modules if name != "vae" or vae_place is None]
    with explained("model.pretrained", pretrained):
        if weights.is_dir():
            modules = load_modules(weights, source.family, names, variant=variant, dtype=precision)
        else:
            modules = _from_file(weights, source, names, dtype=precision)
        scheduler = load_scheduler(source.folder)
    if vae_place:
        modules["vae"] = _other_vae(vae_place, source, modules["unet"], dtype=precision)
    parts: dict[str, Any] = dict(zip(source.family.tokenizers, tokenizers.values(), strict=True)) | modules
    common = {"name": pretrained, "revision": source.revision, "scheduler": scheduler}
    model: LatentDiffusion
    if source.family is SDXL:
        index = read_json(source.folder / "model_index.json", place=pretrained)
        zero_for_nothing = index.get("force_zeros_for_empty_prompt", True)
        model = StableDiffusionXL(**common, **parts, zero_for_nothing=zero_for_nothing)
    else:
        model = StableDiffusion(**common, **parts)
    prepare(
        model,
        attention=attention,
        gradient_checkpointing=gradient_checkpointing,
        compile=compile,
        tf32=tf32,
    )
    return model


def load_tokenizers(
    pretrained: str, *, revision: str | None = None, tokenizer: str | None = None, config: str | None = None
) -> dict[str, CLIPTokenizer]:
    """The tokenizer of each text encoder, in a moment: enough to check a concept's words before any weight is loaded.

    Args:
        pretrained: as for `load`, and so are the others.
        revision: of an id.
        tokenizer: other tokenizers.
        config: for a single file.

    Raises:
        UserError: as `load`, as far as it can be told without the weights.
    """
    return tokenizers_of(find(pretrained, revision=revision, config=config), tokenizer)


def fetch(
    pretrained: str,
    *,
    revision: str | None = None,
    variant: str | None = None,
    vae: str | None = None,
    tokenizer: str | None = None,
    config: str | None = None,
) -> None:
    """Put all that `load` opens with the same arguments into the Hub's cache, for a machine without a network.

    Args:
        pretrained: as for `load`, and so are the others.
        revision: of an id.
        variant: of the weights.
        vae: another VAE.
        tokenizer: other tokenizers.
        config: for a single file.

    Raises:
        UserError: as `load`.
    """
    source = find(pretrained, revision=revision, config=config)
    tokenizers_of(source, tokenizer)
    weights_of(source, variant=variant, without="vae" if vae else None)
    if vae:
        part_place(vae, setting="model.vae", part="vae")


def _from_file(path: Path, source: Source, names: list[str], *, dtype: torch.dtype) -> dict[str, Any]:
    weights = read_checkpoint(path)
    if "vae" in names and not any(name.startswith(VAE) for name in weights):
        raise UserError(f"model.vae: {source.name} has no VAE; set model.vae to a folder, a file or a Hub id of one")
    return convert_modules(weights, source.folder, source.family, names, dtype=dtype, place=source.name)


def _other_vae(place: Path, source: Source, unet: Any, *, dtype: torch.dtype) -> AutoencoderKL:
    with explained("model.vae", str(place)):
        if place.is_file():
            vae = convert_vae(read_checkpoint(place, setting="model.vae"), source.folder, dtype=dtype, place=str(place))
        else:
            kind = AutoencoderKL.load_config(place).get("_class_name")
            if kind != "AutoencoderKL":
                raise UserError(f"model.vae: {place} is a {kind}, an AutoencoderKL is needed")
            vae = load_module(AutoencoderKL, place, "", variant=None, dtype=dtype, setting="model.vae")
    if vae.config.latent_channels != unet.config.in_channels:
        raise UserError(
            f"model.vae: {place} has latents of {vae.config.latent_channels} channels, the U-Net takes "
            f"{unet.config.in_channels}; take one for this kind of model"
        )
    return vae
