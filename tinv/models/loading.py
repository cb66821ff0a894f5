"""Loads a published model from a folder, a single file or the Hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import CLIPTextConfig

from tinv.config.validate import ConfigError
from tinv.diffusion.process import NoiseProcess
from tinv.errors import UserError
from tinv.models.base import LatentDiffusion
from tinv.models.components import class_of, load_modules, load_scheduler, load_vae
from tinv.models.families import read_json
from tinv.models.family import Family
from tinv.models.model_files import ModelFiles, fetch_weights, find_model, locate_component
from tinv.models.quantization import Quantization, quantization_problems, resolve_quantization
from tinv.models.quantized_weights import is_quantized, read_first_values
from tinv.models.runtime import check_attention, check_runtime, prepare
from tinv.models.vae import latent_channels
from tinv.silence import explained_errors

_TOKENIZER_FILES = (("vocab.json", "merges.txt"), ("tokenizer.json",), ("spiece.model",), ("tokenizer.model",))
"""Each is a complete tokenizer; transformers builds an empty one if all are missing."""


def load(
    pretrained: str,
    *,
    revision: str | None = None,
    variant: str | None = None,
    vae: str | None = None,
    tokenizer: str | None = None,
    config: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    quantization: Quantization | Mapping[str, Quantization | None] | None = None,
    attention: Literal["sdpa", "xformers"] = "sdpa",
    gradient_checkpointing: bool = False,
    compile: bool = False,
    tf32: bool = False,
) -> LatentDiffusion:
    """A frozen model, whose files decide its family.

    Args:
        pretrained: a pipeline folder, `pkg://package/folder`, an id of the Hugging Face Hub, or a single .safetensors
            or .ckpt file in the layout of the original programs.
        revision: of an id: a commit, a branch or a tag, for every component; None is the main branch.
        variant: of the weights of every component, as fp16 in `model.fp16.safetensors`; None is the plain ones.
        vae: another VAE: a folder, a file, or an id of the Hub, also as `id@revision`.
        tokenizer: other tokenizers: a folder, or an id of the Hub, also as `id@revision`.
        config: for a single file, the folder or Hub id of a pipeline with matching configurations and tokenizers;
            None is those of Stable Diffusion 1.5 or XL from the Hub.
        dtype: the precision of the frozen weights. The learned vectors and the loss are float32 in any case, and so
            is a VAE that float16 would overflow.
        quantization: of the linear layers of the denoiser and of the text encoders that are no CLIP, or a mapping with
            that of each component.
        attention: what computes the denoiser's attention: torch, or xformers for a U-Net.
        gradient_checkpointing: recompute activations in the backward pass instead of saving them; same gradients.
        compile: the denoiser's training step, for one shape of batches.
        tf32: faster float32 matrix products of less precision, in the whole process.

    Raises:
        UserError: there is no such model, it is incomplete or not supported, it cannot be downloaded, or this machine
            cannot run it as set.
    """
    check_runtime(attention=attention, compile=compile)
    files = find_model(pretrained, revision=revision, config=config)
    check_attention(attention, has_unet=files.family.has_unet)
    kinds = resolve_quantization(quantization, files.family)
    choices: Any = {"attention": attention, "compile": compile, "is_single_file": files.is_single_file}
    if problems := [*quantization_problems(kinds, files.family, **choices)]:
        raise ConfigError(problems)
    tokenizers = tokenizers_of(files, tokenizer)
    torch_dtype = getattr(torch, dtype)
    vae_path = locate_component(vae, setting="model.vae", component="vae") if vae else None
    weights = fetch_weights(files, variant=variant, without="vae" if vae else None)
    family = files.family
    names = [name for name in family.modules if name != "vae" or vae_path is None]
    with explained_errors("model.pretrained", pretrained):
        modules = load_modules(
            weights,
            files.configs,
            family,
            names,
            variant=variant,
            dtype=torch_dtype,
            quantization=kinds,
            name=pretrained,
        )
        scheduler = load_scheduler(files.configs, family)
    if vae_path:
        with explained_errors("model.vae", str(vae_path)):
            modules["vae"] = load_vae(vae_path, files.configs, family, dtype=torch_dtype)
        channels = latent_channels(modules["vae"])
        expected = family.latent_channels(modules[family.denoiser[0]].config)
        if channels != expected:
            raise UserError(
                f"model.vae={vae_path}: its latents have {channels} channels, but the denoiser takes {expected}. Use a "
                f"VAE for this kind of model."
            )
    first_values: dict[str, Any] = {}
    for component in kinds:
        parameters = modules[component].named_parameters()
        parts = [name for name, weight in parameters if is_quantized(weight)]
        values = read_first_values(weights / component, parts, variant=variant)
        first_values |= {f"{component}.{name}": value for name, value in values.items()}
    index = read_json(files.configs / "model_index.json", name=pretrained)
    model = LatentDiffusion(
        family,
        {**dict(zip(family.tokenizers, tokenizers.values(), strict=True)), **modules, "scheduler": scheduler},
        name=pretrained,
        revision=files.revision,
        pipeline_settings={key: index[key] for key in family.pipeline_settings if key in index},
        quantization=kinds,
        first_values=first_values,
    )
    prepare(model, attention=attention, gradient_checkpointing=gradient_checkpointing, compile=compile, tf32=tf32)
    return model


@dataclass(frozen=True)
class ModelDescription:
    """What the configurations of a model say."""

    family: Family
    tokenizers: dict[str, Any]
    """By the role of the text encoder."""
    noise_process: NoiseProcess
    is_single_file: bool
    """Whether the weights are in a file of the original layout."""


def describe(
    pretrained: str, *, revision: str | None = None, tokenizer: str | None = None, config: str | None = None
) -> ModelDescription:
    """The description of a model, without any weights; takes the arguments of `load`.

    Raises:
        UserError: as `load`, as far as that shows without the weights.
    """
    files = find_model(pretrained, revision=revision, config=config)
    tokenizers = tokenizers_of(files, tokenizer)
    with explained_errors("model.pretrained", pretrained):
        scheduler = load_scheduler(files.configs, files.family)
    return ModelDescription(files.family, tokenizers, files.family.noise_process(scheduler), files.is_single_file)


def load_tokenizers(
    pretrained: str, *, revision: str | None = None, tokenizer: str | None = None, config: str | None = None
) -> dict[str, Any]:
    """The tokenizer of each text encoder, by role, without any weights; takes the arguments of `load`.

    Raises:
        UserError: as `load`, as far as that shows without the weights.
    """
    return describe(pretrained, revision=revision, tokenizer=tokenizer, config=config).tokenizers


def fetch(
    pretrained: str,
    *,
    revision: str | None = None,
    variant: str | None = None,
    vae: str | None = None,
    tokenizer: str | None = None,
    config: str | None = None,
) -> None:
    """Download all that `load` opens with the same arguments into the Hub's cache.

    Raises:
        UserError: as `load`.
    """
    files = find_model(pretrained, revision=revision, config=config)
    tokenizers_of(files, tokenizer)
    fetch_weights(files, variant=variant, without="vae" if vae else None)
    if vae:
        locate_component(vae, setting="model.vae", component="vae")


def tokenizers_of(files: ModelFiles, other: str | None) -> dict[str, Any]:
    """The tokenizer of each text encoder of a model, by role; `other` is the value of `model.tokenizer`.

    Raises:
        UserError: one is incomplete, or has tokens that the text encoder does not have.
    """
    family, index = files.family, read_json(files.configs / "model_index.json", name=files.name)
    configs = [_text_config(files, component) for component in family.text_encoders]
    roles = family.encoder_roles([config.hidden_size for config in configs])
    folders = [files.configs / name for name in family.tokenizers]
    setting, value = ("model.tokenizer", other) if other else ("model.pretrained", files.name)
    if other:
        folders = [locate_component(other, setting=setting, component=name) for name in family.tokenizers]
        if len(set(folders)) < len(folders):
            raise UserError(
                f"model.tokenizer={other}: {family.title} needs {len(folders)} tokenizers, this is one. Give the "
                f"folder of a pipeline."
            )
    tokenizers = {}
    for role, name, folder, config in zip(roles, family.tokenizers, folders, configs, strict=True):
        if not any(all((folder / file).is_file() for file in files_of) for files_of in _TOKENIZER_FILES):
            raise UserError(f"{setting}={value}: {folder} has no complete tokenizer: vocab.json and merges.txt.")
        with explained_errors(setting, value):
            tokenizer = class_of(index[name][1]).from_pretrained(folder)
        if isinstance(config, CLIPTextConfig):
            tokenizer.model_max_length = min(tokenizer.model_max_length, config.max_position_embeddings)
        if max(tokenizer.get_vocab().values()) >= config.vocab_size:
            raise UserError(
                f"{setting}={value}: the tokenizer has {len(tokenizer)} tokens, but the text encoder "
                f"{config.vocab_size}. Give the tokenizer that belongs to the model."
            )
        tokenizers[role] = tokenizer
    return tokenizers


def _text_config(files: ModelFiles, component: str) -> Any:
    """The configuration of a text encoder, with the defaults of its class."""
    config = read_json(files.configs / component / "config.json", name=files.name)
    return class_of(files.family.text_encoders[component]).config_class.from_dict(config).get_text_config()
