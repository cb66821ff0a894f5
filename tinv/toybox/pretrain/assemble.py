"""The stages assemble and flow_assemble: write the trained components as folders of diffusers pipelines."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPModel, CLIPTextModel, T5EncoderModel

from tinv.toybox.pretrain import checkpoint
from tinv.toybox.pretrain.t5_tokenizer import load_t5_tokenizer
from tinv.toybox.pretrain.tokenizer import load_tokenizer
from tinv.toybox.pretrain.unet import BETAS

MEGABYTE = 1_000_000
SHIFT = 1.5
"""The flow scheduler's shift: more steps at high noise, where the model was also trained more."""
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


def assemble_flow(out: Path, target: Path) -> None:
    """Writes `target/flow_pipeline` in half precision: an ordinary `FluxPipeline` with the toybox's CLIP and VAE."""
    vae = AutoencoderKL.from_pretrained(out / "vae").half()
    vae.register_to_config(shift_factor=0.0)
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        vae=vae,
        text_encoder=CLIPTextModel.from_pretrained(out / "clip").half(),
        tokenizer=load_tokenizer(out),
        text_encoder_2=T5EncoderModel.from_pretrained(out / "flow_decay" / "text_encoder_2").half(),
        tokenizer_2=load_t5_tokenizer(out),
        transformer=FluxTransformer2DModel.from_pretrained(out / "flow_decay" / "transformer").half(),
    )
    partial = target / "flow_pipeline.part"
    pipeline.save_pretrained(partial)
    for encoder in ("text_encoder", "text_encoder_2"):
        load_as_single_precision(partial / encoder / "config.json")
    forget_paths(partial)
    checkpoint.replace_folder(partial, target / "flow_pipeline")
    print(f"flow_assemble: {size_of(target / 'flow_pipeline'):.1f} MB", flush=True)


def unpack(target: Path, out: Path) -> None:
    """Copies the components of an assembled model into a working folder, to continue training from them."""
    pipeline, facts = target / "pipeline", json.loads((target / "card" / "card.json").read_text())["training"]
    sources = {"tokenizer": pipeline / "tokenizer", "clip": target / "clip", "image_encoder": target / "clip"}
    sources |= {"unet": pipeline / "unet", "vae": pipeline / "vae", "vae_start": pipeline / "vae"}
    flow, flow_card = target / "flow_pipeline", target / "flow_card" / "card.json"
    if flow_card.exists():
        sources |= {"tokenizer_2": flow / "tokenizer_2"}
        sources |= {f"flow/{part}": flow / part for part in ("transformer", "text_encoder_2")}
        facts["flow"] = json.loads(flow_card.read_text())["training"]
    for name, source in sources.items():
        if not (out / name).exists():
            shutil.copytree(source, out / name)
    for stage in ("clip", "image_encoder", "vae", "unet", "flow"):
        if stage in facts:
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
