"""Unsupported models are refused by what their files say, before any weight is read."""

import json
import shutil

import pytest

from tinv.errors import UserError
from tinv.models import load, load_tokenizers

UNET, SCHEDULER, INDEX = "unet/config.json", "scheduler/scheduler_config.json", "model_index.json"
NONE = [None, None]
UNSUPPORTED = {
    "inpainting": ("sd1", UNET, {"in_channels": 9}, "an inpainting model, whose U-Net has 9 input channels"),
    "pix2pix": ("sd1", UNET, {"in_channels": 8}, "an image editing model"),
    "upscaler": ("sd2", UNET, {"in_channels": 7, "num_class_embeds": 1000}, "an upscaler"),
    "depth": ("sd2", UNET, {"in_channels": 5}, "a depth model"),
    "unclip": ("sd2", UNET, {"class_embed_type": "projection"}, "needs a class or an image"),
    "lcm": ("sd1", UNET, {"time_cond_proj_dim": 256}, r"a distilled \(LCM\) model"),
    "kandinsky": ("sd1", UNET, {"addition_embed_type": "image"}, "is conditioned on image"),
    "another text encoder": ("sd1", UNET, {"cross_attention_dim": 99}, "text features of width 99, .* encoder have 32"),
    "refiner's U-Net": ("sdxl", UNET, {"projection_class_embeddings_input_dim": 88}, "such as the refiner of SDXL"),
    "flow": ("sdxl", SCHEDULER, {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatchEuler"),
    "playground": ("sdxl", SCHEDULER, {"_class_name": "EDMEulerScheduler"}, "EDMEuler"),
    "x0": ("sd1", SCHEDULER, {"prediction_type": "sample"}, "predicts sample"),
    "refiner": ("sdxl", INDEX, {"text_encoder": NONE, "tokenizer": NONE}, "the refiner of SDXL"),
    "alt": ("sd1", INDEX, {"text_encoder": ["x", "RobertaSeriesModel"]}, "text_encoder is a RobertaSeriesModel"),
    "taesd": ("sd1", INDEX, {"vae": ["diffusers", "AutoencoderTiny"]}, "vae is a AutoencoderTiny"),
}
FLUX = {
    "_class_name": "FluxPipeline",
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "T5EncoderModel"],
    "transformer": ["diffusers", "FluxTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_relatives_of_stable_diffusion_are_named(settings, tmp_path, kind):
    name, file, change, message = UNSUPPORTED[kind]
    folder = shutil.copytree(settings[name], tmp_path / "m")
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | change))
    with pytest.raises(UserError, match=rf"model\.pretrained=.*: .*{message}"):
        load_tokenizers(str(folder))


@pytest.mark.parametrize("kind", ["FluxFillPipeline", "FluxKontextPipeline", "HunyuanDiTPipeline"])
def test_models_with_transformers_are_named(tmp_path, kind):
    (tmp_path / "model_index.json").write_text(json.dumps(FLUX | {"_class_name": kind}))
    with pytest.raises(UserError, match=f"this is a {kind}. Use .* Stable Diffusion 1 or 2, Stable Diffusion XL"):
        load(str(tmp_path))


@pytest.mark.parametrize("file", [UNET, SCHEDULER, "text_encoder_2/config.json"])
@pytest.mark.parametrize("content", [None, "{", "[]", '"text"', ""])
def test_a_missing_or_broken_file_is_named(settings, tmp_path, file, content):
    folder = shutil.copytree(settings["sdxl"], tmp_path / "m")
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    problem = "missing. Is the folder complete" if content is None else "(broken|not a configuration)"
    with pytest.raises(UserError, match=rf"m: {file} is {problem}"):
        load_tokenizers(str(folder))
