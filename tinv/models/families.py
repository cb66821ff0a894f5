"""Which models can be trained: Stable Diffusion 1, 2 and XL, told by what their files say, never by their names."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinv.diffusion.process import PREDICTION_TYPES
from tinv.errors import UserError

_OTHER_INPUTS = {9: "an inpainting model", 8: "a model that edits pictures", 7: "an upscaler", 5: "a depth model"}


@dataclass(frozen=True)
class Family:
    """The parts that a kind of model has, by their folders in a pipeline."""

    title: str
    text_encoders: Mapping[str, str]
    """Folder -> class."""

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """The folders of the tokenizers, in the order of their text encoders."""
        return tuple(folder.replace("text_encoder", "tokenizer") for folder in self.text_encoders)

    @property
    def modules(self) -> dict[str, str]:
        """The folders that hold weights, and their classes."""
        return {**self.text_encoders, "vae": "AutoencoderKL", "unet": "UNet2DConditionModel"}


SD = Family("Stable Diffusion 1 or 2", {"text_encoder": "CLIPTextModel"})
SDXL = Family("Stable Diffusion XL", {"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection"})


def recognise(folder: Path, *, place: str) -> Family:
    """The family of the pipeline in a folder, from its model_index.json and its parts' configurations.

    Args:
        folder: holds them; the weights are not looked at.
        place: what the user calls it.

    Raises:
        UserError: saying what else it is, or what it lacks.
    """
    index = read_json(folder / "model_index.json", place=place)
    kind = index.get("_class_name", "something else")
    parts = {name: part[1] for name, part in index.items() if isinstance(part, list) and len(part) == 2 and part[1]}
    if "unet" not in parts or "vae" not in parts:
        raise not_ours(place, f"a {kind}")
    if "text_encoder" not in parts:
        what = "the refiner of SDXL, which has the second text encoder alone" if "text_encoder_2" in parts else kind
        raise not_ours(place, what)
    family = SDXL if "text_encoder_2" in parts else SD
    for name, wanted in family.modules.items():
        if parts[name] != wanted:
            raise not_ours(place, f"a {kind} whose {name} is a {parts[name]}")
    unet = read_json(folder / "unet" / "config.json", place=place)
    texts = [read_json(folder / name / "config.json", place=place) for name in family.text_encoders]
    _check_unet(unet, texts, place=place)
    _check_scheduler(read_json(folder / "scheduler" / "scheduler_config.json", place=place), place=place)
    return family


def read_json(path: Path, *, place: str) -> dict[str, Any]:
    """A configuration.

    Raises:
        UserError: it is missing or broken.
    """
    where = f"{path.parent.name}/{path.name}"
    if not path.is_file():
        raise UserError(f"model.pretrained: {place} has no {where}; is the folder complete? Fetch it again")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"model.pretrained: {where} of {place} is broken ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise UserError(f"model.pretrained: {where} of {place} is no configuration; fetch it again")
    return content


def _check_unet(unet: Mapping[str, Any], texts: list[dict[str, Any]], *, place: str) -> None:
    if (channels := unet.get("in_channels", 4)) != unet.get("out_channels", 4):
        raise not_ours(place, purpose(channels))
    if unet.get("time_cond_proj_dim") is not None:
        raise not_ours(place, "a distilled (LCM) model, whose U-Net also wants the guidance scale")
    if unet.get("class_embed_type") is not None or unet.get("num_class_embeds") is not None:
        raise not_ours(place, "a model whose U-Net also wants a class or a picture")
    wanted = None if len(texts) == 1 else "text_time"
    if unet.get("addition_embed_type") != wanted or unet.get("encoder_hid_dim_type") is not None:
        raise not_ours(place, f"a model whose U-Net is conditioned on {unet.get('addition_embed_type') or 'less'}")
    reads, width = unet.get("cross_attention_dim", 1280), sum(text.get("hidden_size", 512) for text in texts)
    if set(reads if isinstance(reads, list) else [reads]) != {width}:
        raise UserError(
            f"model.pretrained: the U-Net of {place} reads text of width {reads}, its text encoder gives {width}; they "
            f"are of two models"
        )
    if wanted:
        told = 6 * unet.get("addition_time_embed_dim", 0) + texts[-1].get("projection_dim", 512)
        if unet.get("projection_class_embeddings_input_dim") != told:
            raise not_ours(place, "a model that is not told sizes and crop as SDXL is; the refiner of SDXL is one")


def _check_scheduler(scheduler: Mapping[str, Any], *, place: str) -> None:
    kind, prediction = scheduler.get("_class_name", ""), scheduler.get("prediction_type", "epsilon")
    if kind.startswith(("FlowMatch", "EDM")) or prediction not in PREDICTION_TYPES:
        raise not_ours(place, f"a model that predicts {prediction} in the way of {kind}")


def purpose(channels: int) -> str:
    """What a U-Net is for that takes more channels than a picture's latents have."""
    return f"{_OTHER_INPUTS.get(channels, 'something else')}, whose U-Net takes {channels} channels"


def not_ours(place: str, what: str) -> UserError:
    """The error that a model is of a kind that is not trained."""
    return UserError(
        f"model.pretrained: {place} is {what}; tinv trains Stable Diffusion 1, 2 and XL that draw from text alone"
    )
