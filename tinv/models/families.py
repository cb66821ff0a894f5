"""The families that can be trained, and how a pipeline's family is recognized: by its files, never by its name."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinv.diffusion.process import PREDICTION_TYPES
from tinv.errors import UserError
from tinv.models.chroma import CHROMA
from tinv.models.family import Family
from tinv.models.flux1 import FLUX1
from tinv.models.flux2_klein import FLUX2_KLEIN
from tinv.models.lumina2 import LUMINA2
from tinv.models.pixart_sigma import PIXART_SIGMA
from tinv.models.qwen_image import QWEN_IMAGE
from tinv.models.sana import SANA
from tinv.models.stable_diffusion import STABLE_DIFFUSION
from tinv.models.stable_diffusion_3 import STABLE_DIFFUSION_3
from tinv.models.stable_diffusion_xl import STABLE_DIFFUSION_XL
from tinv.models.z_image import Z_IMAGE

_FAMILIES = (FLUX1, FLUX2_KLEIN, CHROMA, STABLE_DIFFUSION_3, PIXART_SIGMA, SANA, LUMINA2, Z_IMAGE, QWEN_IMAGE)
TRANSFORMERS = {family.pipeline: family for family in _FAMILIES}
"""The families without a U-Net, by the class of their pipeline."""
REFINER = "the refiner of SDXL, which has the second text encoder alone"
LCM = "a distilled (LCM) model, whose U-Net also needs the guidance scale"
_OTHER_INPUTS = {9: "an inpainting model", 8: "an image editing model", 7: "an upscaler", 5: "a depth model"}


def recognize_pipeline(folder: Path, *, name: str) -> Family:
    """The family of a pipeline folder that the user calls `name`, from its configurations; no weights are read.

    Raises:
        UserError: the pipeline is incomplete or of another family.
    """
    index = read_json(folder / "model_index.json", name=name)
    kind = index.get("_class_name", "something else")
    pairs = {key: value for key, value in index.items() if isinstance(value, list) and len(value) == 2}
    classes = {key: class_name for key, (_, class_name) in pairs.items() if class_name}
    if "unet" in classes:
        if "text_encoder" not in classes:
            raise unsupported(name, REFINER if "text_encoder_2" in classes else kind)
        family = STABLE_DIFFUSION_XL if "text_encoder_2" in classes else STABLE_DIFFUSION
    elif kind in TRANSFORMERS:
        family = TRANSFORMERS[kind]
    else:
        raise unsupported(name, f"a {kind}")
    for component, class_name in family.modules.items():
        if classes.get(component) not in (class_name, family.older_classes.get(component, class_name)):
            raise unsupported(name, f"a {kind} whose {component} is a {classes.get(component)}")
    for component in family.tokenizers:
        if component not in classes:
            raise unsupported(name, f"a {kind} without its {component}")
    if family.has_unet:
        unet = read_json(folder / "unet" / "config.json", name=name)
        texts = [read_json(folder / component / "config.json", name=name) for component in family.text_encoders]
        _check_unet(unet, texts, name=name)
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json", name=name)
    kind, prediction = scheduler.get("_class_name", ""), scheduler.get("prediction_type", "epsilon")
    is_known = not kind.startswith(("FlowMatch", "EDM")) and prediction in PREDICTION_TYPES
    if not (is_known if family.has_unet else kind == family.scheduler_class):
        raise unsupported(name, f"a model that predicts {prediction} with a {kind}")
    return family


def read_json(path: Path, *, name: str) -> dict[str, Any]:
    """A configuration of the model called `name`.

    Raises:
        UserError: the file is missing or broken.
    """
    file = f"{path.parent.name}/{path.name}"
    if not path.is_file():
        raise UserError(f"model.pretrained={name}: {file} is missing. Is the folder complete? Download it again.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"model.pretrained={name}: {file} is broken ({error}). Download it again.") from error
    if not isinstance(content, dict):
        raise UserError(f"model.pretrained={name}: {file} is not a configuration. Download it again.")
    return content


def purpose(channels: int) -> str:
    """What a U-Net is for whose input has more channels than the latents of an image."""
    return f"{_OTHER_INPUTS.get(channels, 'something else')}, whose U-Net has {channels} input channels"


def unsupported(name: str, kind: str) -> UserError:
    """The error that a model is of a kind that cannot be trained."""
    titles = [family.title for family in (STABLE_DIFFUSION, STABLE_DIFFUSION_XL, *_FAMILIES)]
    return UserError(
        f"model.pretrained={name}: this is {kind}. Use a text-to-image model of one of these: {', '.join(titles)}."
    )


def _check_unet(unet: Mapping[str, Any], texts: Sequence[Mapping[str, Any]], *, name: str) -> None:
    if (channels := unet.get("in_channels", 4)) != unet.get("out_channels", 4):
        raise unsupported(name, purpose(channels))
    if unet.get("time_cond_proj_dim") is not None:
        raise unsupported(name, LCM)
    if unet.get("class_embed_type") is not None or unet.get("num_class_embeds") is not None:
        raise unsupported(name, "a model whose U-Net also needs a class or an image")
    addition = None if len(texts) == 1 else "text_time"
    if unet.get("addition_embed_type") != addition or unet.get("encoder_hid_dim_type") is not None:
        raise unsupported(name, f"a model whose U-Net is conditioned on {unet.get('addition_embed_type') or 'less'}")
    expected, width = unet.get("cross_attention_dim", 1280), sum(text.get("hidden_size", 512) for text in texts)
    if set(expected if isinstance(expected, list) else [expected]) != {width}:
        raise UserError(
            f"model.pretrained={name}: the U-Net expects text features of width {expected}, but those of the text "
            f"encoder have {width}. They belong to different models."
        )
    if addition:
        width = 6 * unet.get("addition_time_embed_dim", 0) + texts[-1].get("projection_dim", 512)
        if unet.get("projection_class_embeddings_input_dim") != width:
            raise unsupported(name, "a model without SDXL's size and crop conditioning, such as the refiner of SDXL")
