"""Selects the files of a diffusers repository that a run loads: one copy of the weights of each component."""

import re
from collections.abc import Iterable, Sequence

from tinv.errors import UserError
from tinv.hub.snapshot import Listing

_NUMBERED = [f"{name}{suffix}" for name in ("tokenizer", "text_encoder") for suffix in ("", "_2", "_3")]
COMPONENTS = (*_NUMBERED, "unet", "transformer", "vae", "scheduler")
"""The components of a pipeline that a run uses; not, for example, the safety checker."""

FLAX_REMEDY = (
    "it has Flax weights only ({}), which tinv cannot load. Give the same model with weights of PyTorch: "
    "model.safetensors, diffusion_pytorch_model.safetensors"
)
_WEIGHTS = re.compile(r"(diffusion_pytorch_model|pytorch_model|model)[.-].*")
_CONFIG = re.compile(r"[^/]+\.(json|txt|model|jinja)")
_SHARD = re.compile(r"-\d{5}-of-\d{5}")
_INDEX = ".index."


def select_pipeline_files(listing: Listing, *, variant: str | None, components: Iterable[str]) -> list[str]:
    """Returns the files of a pipeline's repository that its components are loaded from.

    Args:
        listing: all files of the repository.
        variant: of the weights, e.g. fp16; None is the default weights.
        components: subfolders of the repository.

    Raises:
        UserError: this is no pipeline, or it lacks a component or the variant.
    """
    _check_pipeline(listing)
    files = ["model_index.json"]
    for component in components:
        names = [name.removeprefix(f"{component}/") for name in listing if name.startswith(f"{component}/")]
        if not names:
            raise UserError(f"it has no {component}")
        files += select_component_files(names, variant=variant, prefix=f"{component}/")
    return files


def select_config_files(listing: Listing) -> list[str]:
    """Returns the configuration and tokenizer files of a pipeline's repository; no weights.

    Raises:
        UserError: this is no pipeline.
    """
    _check_pipeline(listing)
    return ["model_index.json"] + [
        f"{component}/{name}"
        for component, _, name in (name.partition("/") for name in listing)
        if component in COMPONENTS and _CONFIG.fullmatch(name) and not _WEIGHTS.fullmatch(name)
    ]


def select_component_files(names: Sequence[str], *, variant: str | None, prefix: str = "") -> list[str]:
    """Returns the files of one subfolder: its configuration, and its weights once, as safetensors if there are any.

    Raises:
        UserError: there are weights, but not of the variant, or only weights of Flax.
    """
    names = [name for name in names if "/" not in name]
    weights = [name for name in names if _WEIGHTS.fullmatch(name)]
    configs = [name for name in names if _CONFIG.fullmatch(name) and name not in weights]
    if not weights and (flax := [name for name in names if name.endswith(".msgpack")]):
        raise UserError(FLAX_REMEDY.format(prefix + flax[0]))
    if not weights:
        return [prefix + name for name in configs]
    matches = [name for name in weights if _variant_of(name) == variant]
    for suffix in (".safetensors", ".bin"):
        files = [name for name in matches if name.endswith(suffix)]
        if shards := [name for name in files if _SHARD.search(name)]:
            index = [name for name in matches if _INDEX in name and f"{suffix}{_INDEX}" in name]
            files = [name for name in files if name not in shards] or [*shards, *index]
        if files:
            return [prefix + name for name in [*configs, *files]]
    variants = sorted({_variant_of(name) or "null" for name in weights if name.endswith((".safetensors", ".bin"))})
    raise UserError(
        f"its {prefix.rstrip('/') or 'weights'} exist as {', '.join(variants) or 'no format that tinv loads'}, "
        f"not as {variant or 'null'}; set model.variant to one that all components have"
    )


def _check_pipeline(listing: Listing) -> None:
    if "model_index.json" not in listing:
        raise UserError("it is no diffusers pipeline (it has no model_index.json)")


def _variant_of(name: str) -> str | None:
    """`model.fp16.safetensors`, `model.fp16-00001-of-00002.safetensors`, `model-00001-of-00002.fp16.bin` -> fp16."""
    middle = _SHARD.sub("", name).split(".")[1:-1]
    return next((word for word in middle if word not in ("safetensors", "bin", "index")), None)
