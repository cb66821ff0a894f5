"""The parts of a pipeline folder, each loaded by its own class; never with weights made up for missing ones."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from tinv.errors import UserError
from tinv.models.families import Family
from tinv.models.vae import precision

CLASSES: dict[str, Any] = {
    kind.__name__: kind for kind in (AutoencoderKL, CLIPTextModel, CLIPTextModelWithProjection, UNet2DConditionModel)
}


def load_modules(
    folder: Path, family: Family, names: Iterable[str], *, variant: str | None, dtype: torch.dtype
) -> dict[str, Any]:
    """The parts that hold weights.

    Args:
        folder: of the pipeline.
        family: says of which class they are.
        names: of the parts.
        variant: of the weights, for every part.
        dtype: that they run in, whatever they were saved in; a VAE that would overflow stays in float32.

    Raises:
        UserError: a part lacks some of its weights.
        Exception: whatever the libraries say of files that are missing or broken.
    """
    return {
        name: load_module(CLASSES[family.modules[name]], folder, name, variant=variant, dtype=dtype) for name in names
    }


def load_module(
    kind: Any,
    folder: Path,
    subfolder: str,
    *,
    variant: str | None,
    dtype: torch.dtype,
    setting: str = "model.pretrained",
) -> Any:
    """One part, from a folder or a subfolder of it; `setting` is whose value it is."""
    if kind is AutoencoderKL:
        dtype = precision(dtype, kind.load_config(folder, subfolder=subfolder or None))
    place = {"subfolder": subfolder} if subfolder else {}
    module, report = kind.from_pretrained(folder, **place, variant=variant, dtype=dtype, output_loading_info=True)
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"{setting}: the {subfolder or 'vae'} of {folder} lacks {len(missing)} of its weights "
            f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}); is it complete? Fetch it again"
        )
    return module


def load_scheduler(folder: Path) -> DDPMScheduler:
    """The noise schedule; any diffusers scheduler's configuration has it."""
    return DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
