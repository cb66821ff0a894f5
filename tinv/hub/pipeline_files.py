"""Which files of a diffusers repository a run opens: one copy of the weights of the parts that it uses."""

import re
from collections.abc import Iterable, Sequence

from tinv.errors import UserError
from tinv.hub.snapshot import Listing

COMPONENTS = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "unet", "vae", "scheduler")
"""What a run uses of a pipeline; safety checkers and their like stay where they are."""

_REQUIRED = frozenset(COMPONENTS) - {"tokenizer_2", "text_encoder_2"}
_WEIGHTS = re.compile(r"(diffusion_pytorch_model|pytorch_model|model)[.-].*")
_SETTINGS = re.compile(r"[^/]+\.(json|txt|model)")
_INDEX = ".index."


def select_pipeline_files(listing: Listing, *, variant: str | None, parts: Iterable[str] = COMPONENTS) -> list[str]:
    """The files of a pipeline's repository that its parts are loaded from.

    Args:
        listing: what there is.
        variant: of the weights, e.g. fp16; None is the plain ones.
        parts: folders of the repository; those that not every model has may be missing.

    Raises:
        UserError: this is no pipeline, or it lacks a part or the variant.
    """
    if "model_index.json" not in listing:
        raise UserError("it is no diffusers pipeline (it has no model_index.json)")
    chosen = ["model_index.json"]
    for part in parts:
        names = [name for name in listing if name.startswith(f"{part}/")]
        if not names and part in _REQUIRED:
            raise UserError(f"it has no {part}")
        chosen += select_component_files(
            [name.removeprefix(f"{part}/") for name in names], variant=variant, prefix=f"{part}/"
        )
    return chosen


def select_config_files(listing: Listing) -> list[str]:
    """The files of a pipeline's repository that say what it is, and its tokenizers; no weights.

    Raises:
        UserError: this is no pipeline.
    """
    if "model_index.json" not in listing:
        raise UserError("it is no diffusers pipeline (it has no model_index.json)")
    inside = [name.partition("/") for name in listing]
    return ["model_index.json"] + [
        f"{part}/{name}"
        for part, _, name in inside
        if part in COMPONENTS and _SETTINGS.fullmatch(name) and not _WEIGHTS.fullmatch(name)
    ]


def select_component_files(names: Sequence[str], *, variant: str | None, prefix: str = "") -> list[str]:
    """The files of one folder: its settings, and its weights once, as safetensors if there are any.

    Args:
        names: what is in the folder.
        variant: of the weights.
        prefix: of the folder, put before the names.

    Raises:
        UserError: there are weights, but none of the variant.
    """
    here = [name for name in names if "/" not in name]
    weights = [name for name in here if _WEIGHTS.fullmatch(name)]
    settings = [name for name in here if _SETTINGS.fullmatch(name) and name not in weights]
    if not weights:
        return [prefix + name for name in settings]
    fitting = [name for name in weights if _variant(name) == variant]
    for suffix in (".safetensors", ".bin"):
        files = [name for name in fitting if name.endswith(suffix)]
        if shards := [name for name in files if _is_shard(name)]:
            index = [name for name in fitting if _INDEX in name and f"{suffix}{_INDEX}" in name]
            files = [name for name in files if name not in shards] or [*shards, *index]
        if files:
            return [prefix + name for name in [*settings, *files]]
    there = sorted({_variant(name) or "null" for name in weights if name.endswith((".safetensors", ".bin"))})
    raise UserError(
        f"its {prefix.rstrip('/') or 'weights'} come as {', '.join(there) or 'no format that tinv loads'}, "
        f"not as {variant or 'null'}; set model.variant to one that all parts have"
    )


def _is_shard(name: str) -> bool:
    return re.search(r"-\d{5}-of-\d{5}", name) is not None


def _variant(name: str) -> str | None:
    """`model.fp16.safetensors`, `model.fp16-00001-of-00002.safetensors`, `model-00001-of-00002.fp16.bin` -> fp16."""
    plain = re.sub(r"-\d{5}-of-\d{5}", "", name)
    middle = plain.split(".")[1:-1]
    left = [word for word in middle if word not in ("safetensors", "bin", "index")]
    return left[0] if left else None
