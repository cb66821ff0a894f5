"""What cannot be trained is refused in words, by what its files say, before any weight is read."""

import json
import shutil

import pytest

from tests.models.published import published, save_tokenizer
from tests.tiny import tiny_tokenizer
from tinv.errors import UserError
from tinv.models import load, load_tokenizers

UNET, NOISE, INDEX = "unet/config.json", "scheduler/scheduler_config.json", "model_index.json"
NONE = [None, None]
OTHER = {
    "inpainting": ("sd1", UNET, {"in_channels": 9}, "an inpainting model, whose U-Net takes 9 channels"),
    "pix2pix": ("sd1", UNET, {"in_channels": 8}, "edits pictures"),
    "upscaler": ("sd2", UNET, {"in_channels": 7, "num_class_embeds": 1000}, "an upscaler"),
    "depth": ("sd2", UNET, {"in_channels": 5}, "a depth model"),
    "unclip": ("sd2", UNET, {"class_embed_type": "projection"}, "wants a class or a picture"),
    "lcm": ("sd1", UNET, {"time_cond_proj_dim": 256}, r"a distilled \(LCM\) model"),
    "kandinsky": ("sd1", UNET, {"addition_embed_type": "image"}, "is conditioned on image"),
    "another text encoder": ("sd1", UNET, {"cross_attention_dim": 99}, "reads text of width 99, its .* gives 32"),
    "refiner's U-Net": ("sdxl", UNET, {"projection_class_embeddings_input_dim": 88}, "the refiner of SDXL is one"),
    "flow": ("sdxl", NOISE, {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatchEuler"),
    "playground": ("sdxl", NOISE, {"_class_name": "EDMEulerScheduler"}, "EDMEuler"),
    "x0": ("sd1", NOISE, {"prediction_type": "sample"}, "predicts sample"),
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


@pytest.mark.parametrize("what", OTHER)
def test_relatives_of_stable_diffusion_are_named(settings, tmp_path, what):
    name, file, change, words = OTHER[what]
    folder = shutil.copytree(settings[name], tmp_path / "m")
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | change))
    with pytest.raises(UserError, match=rf"model\.pretrained: .*{words}"):
        load_tokenizers(str(folder))


@pytest.mark.parametrize("kind", ["FluxPipeline", "StableDiffusion3Pipeline"])
def test_models_with_transformers_are_named(tmp_path, kind):
    (tmp_path / "model_index.json").write_text(json.dumps(FLUX | {"_class_name": kind}))
    with pytest.raises(UserError, match=f"is a {kind}; tinv trains Stable Diffusion 1, 2 and XL"):
        load(str(tmp_path))


@pytest.mark.parametrize("lost", ["unet/config.json", "scheduler/scheduler_config.json", "text_encoder_2/config.json"])
def test_a_part_that_is_missing_is_named(settings, tmp_path, lost):
    folder = shutil.copytree(settings["sdxl"], tmp_path / "m")
    (folder / lost).unlink()
    with pytest.raises(UserError, match=rf"has no {lost}; is the folder complete"):
        load_tokenizers(str(folder))


@pytest.mark.parametrize("content", ["{", "[]", '"text"', ""])
def test_a_broken_configuration_is_named(settings, tmp_path, content):
    folder = shutil.copytree(settings["sd1"], tmp_path / "m")
    (folder / "unet" / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"unet/config\.json of .*m is (broken|no configuration)"):
        load_tokenizers(str(folder))


def test_a_folder_without_weights_is_said_so(settings):
    with pytest.raises(UserError, match=r"cannot load .*is it complete"):
        load(str(settings["sd1"]))


def test_words_that_the_text_encoder_does_not_know_are_refused(folders, tmp_path):
    """Their ids would be taken for learned words."""
    folder = shutil.copytree(folders["sd1"], tmp_path / "m")
    words = tiny_tokenizer.__wrapped__()
    words.add_tokens(["<left-over>"])
    shutil.rmtree(folder / "tokenizer")
    words.save_pretrained(folder / "tokenizer")
    with pytest.raises(UserError, match=r"has 621 words, the text encoder 620|give the tokenizer that belongs"):
        load_tokenizers(str(folder))


# --- another VAE, other tokenizers ------------------------------------------------------------------------------------


def test_a_tokenizer_can_come_from_elsewhere(folders, tmp_path):
    save_tokenizer(published("sd2").tokenizer, tmp_path / "alone")
    assert load(str(folders["sd1"])).tokenizer.pad_token == "<|endoftext|>"
    for place in (tmp_path / "alone", folders["sd2"]):
        model = load(str(folders["sd1"]), tokenizer=str(place))
        assert model.tokenizer.pad_token == "!"
        assert load_tokenizers(str(folders["sd1"]), tokenizer=str(place))["clip_l"].pad_token == "!"
    assert load(str(folders["sdxl"]), tokenizer=str(folders["sdxl"])).tokenizer_2.pad_token == "!"
    with pytest.raises(UserError, match=r"model\.tokenizer: .*holds one tokenizer, Stable Diffusion XL has two"):
        load_tokenizers(str(folders["sdxl"]), tokenizer=str(tmp_path / "alone"))
    with pytest.raises(UserError, match=r"model\.tokenizer: there is no whole tokenizer in"):
        load_tokenizers(str(folders["sd1"]), tokenizer=str(tmp_path))
    with pytest.raises(UserError, match=r"model\.tokenizer: there is no folder or file"):
        load_tokenizers(str(folders["sd1"]), tokenizer="./nowhere")


@pytest.mark.parametrize("lost", ["vocab.json", "merges.txt"])
def test_a_tokenizer_that_is_not_whole_is_never_made_up(settings, tmp_path, lost):
    folder = shutil.copytree(settings["sdxl"], tmp_path / "m")
    (folder / "tokenizer_2" / lost).unlink()
    with pytest.raises(UserError, match=r"model\.pretrained: there is no whole tokenizer in .*tokenizer_2"):
        load_tokenizers(str(folder))
