"""Stage 7, assemble: writes the trained components as a diffusers pipeline folder, and the CLIP model."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPModel, CLIPTextModel

from tinv.toybox.pretrain import checkpoint
from tinv.toybox.pretrain.tokenizer import load_tokenizer
from tinv.toybox.pretrain.unet import BETAS

MEGABYTE = 1_000_000
PREPROCESSING = {
    "image_processor_type": "CLIPImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"shortest_edge": 64},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 64, "width": 64},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
"""The preprocessing of CLIP's image encoder, as transformers writes it: pixels in [-1, 1]."""


def assemble(out: Path, target: Path) -> None:
    """Writes `target/pipeline` and `target/clip` in half precision from the stages in `out`, with the same tokenizer.

    The scheduler is that of Stable Diffusion 1.x except for its spacing: "trailing" starts at pure noise, as the
    sampler does; "leading" starts a step too late and fades the colors.
    """
    tokenizer = load_tokenizer(out)
    scheduler = PNDMScheduler(
        **BETAS, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1, timestep_spacing="trailing"
    )
    scheduler.register_to_config(clip_sample=False)
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(out / "vae").half(),
        text_encoder=CLIPTextModel.from_pretrained(out / "clip").half(),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel.from_pretrained(out / "unet").half(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    partial = target / "pipeline.part"
    pipeline.save_pretrained(partial)
    load_as_single_precision(partial / "text_encoder" / "config.json")
    forget_paths(partial)
    checkpoint.replace_folder(partial, target / "pipeline")

    partial = target / "clip.part"
    CLIPModel.from_pretrained(out / "image_encoder").half().save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    load_as_single_precision(partial / "config.json")
    checkpoint.write_json(partial / "preprocessor_config.json", PREPROCESSING)
    checkpoint.replace_folder(partial, target / "clip")
    print(f"assemble: {size_of(target / 'pipeline') + size_of(target / 'clip'):.1f} MB", flush=True)


def unpack(target: Path, out: Path) -> None:
    """Copies the components of an assembled model into a working folder, to continue training from them."""
    pipeline, facts = target / "pipeline", json.loads((target / "card" / "card.json").read_text())["training"]
    sources = {"tokenizer": pipeline / "tokenizer", "clip": target / "clip", "image_encoder": target / "clip"}
    sources |= {"unet": pipeline / "unet", "vae": pipeline / "vae", "vae_start": pipeline / "vae"}
    for name, source in sources.items():
        if not (out / name).exists():
            shutil.copytree(source, out / name)
    for stage in ("clip", "image_encoder", "vae", "unet"):
        checkpoint.write_json(out / f"{stage}.json", facts[stage])


def load_as_single_precision(config: Path) -> None:
    """Makes transformers compute in float32 from the half-precision file, as diffusers does."""
    content = json.loads(config.read_text())
    for section in (content, content.get("text_config", {}), content.get("vision_config", {})):
        if "dtype" in section:
            section["dtype"] = str(torch.float32).removeprefix("torch.")
    checkpoint.write_json(config, content)


def forget_paths(folder: Path) -> None:
    """Removes the paths that the components were loaded from."""
    for config in folder.rglob("*.json"):
        content = json.loads(config.read_text())
        if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
            checkpoint.write_json(config, content)


def size_of(folder: Path) -> float:
    """Returns the size of all files in a folder in MB."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / MEGABYTE
