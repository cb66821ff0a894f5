"""Another VAE: a folder of its own, a pipeline's, a file in the original layout, one in diffusers' layout."""

import copy
import shutil

import pytest
import torch
from safetensors.torch import save_file

from tests.models import original
from tests.models.published import published
from tinv.errors import UserError
from tinv.models import load


@pytest.fixture(scope="module")
def other():
    """A VAE with other weights and another scale."""
    vae = copy.deepcopy(published("sd1").vae)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.01)
    vae.register_to_config(scaling_factor=0.5)
    return vae


def is_the_other(model, other):
    return all(torch.equal(model.vae.state_dict()[name], value) for name, value in other.state_dict().items())


def places(other, root):
    """Everything that the same VAE can be."""
    other.save_pretrained(root / "alone")
    pipeline = copy.deepcopy(published("sd1"))
    pipeline.vae = other
    pipeline.save_pretrained(root / "pipeline")
    state = original.vae(other)
    save_file(state, root / "bare.safetensors")
    save_file({f"first_stage_model.{name}": value for name, value in state.items()}, root / "prefixed.safetensors")
    torch.save({"state_dict": state | {"loss.logvar": torch.zeros(1)}}, root / "bare.ckpt")
    save_file(other.state_dict(), root / "diffusers.safetensors")
    return [
        root / name
        for name in (
            "alone",
            "pipeline",
            "bare.safetensors",
            "prefixed.safetensors",
            "bare.ckpt",
            "diffusers.safetensors",
        )
    ]


def test_a_vae_can_come_from_a_folder_or_a_file(folders, other, tmp_path):
    for place in places(other, tmp_path):
        model = load(str(folders["sd1"]), vae=str(place))
        assert is_the_other(model, other), place
        scale = 0.5 if place.is_dir() else published("sd1").vae.config.scaling_factor
        assert model.vae.config.scaling_factor == scale


def test_a_models_own_vae_need_not_be_there(folders, other, tmp_path):
    folder = shutil.copytree(folders["sd1"], tmp_path / "m")
    shutil.rmtree(folder / "vae")
    other.save_pretrained(tmp_path / "alone")
    assert is_the_other(load(str(folder), vae=str(tmp_path / "alone")), other)
    with pytest.raises(UserError, match="it has no vae"):
        load(str(folder))


def test_a_variant_of_the_model_takes_the_other_vaes_plain_weights(other, tmp_path):
    copy.deepcopy(published("sd1")).save_pretrained(tmp_path / "m", variant="fp16")
    other.save_pretrained(tmp_path / "alone")
    assert is_the_other(load(str(tmp_path / "m"), variant="fp16", vae=str(tmp_path / "alone")), other)


@pytest.mark.parametrize(
    ("what", "words"),
    [("unet", "is a UNet2DConditionModel"), ("text_encoder", "is a None"), ("nowhere", "there is no folder or file")],
)
def test_what_is_no_vae_is_refused(folders, tmp_path, what, words):
    place = folders["sd1"] / what if what != "nowhere" else "./nowhere"
    with pytest.raises(UserError, match=rf"model\.vae: .*{words}"):
        load(str(folders["sd1"]), vae=str(place))


def test_a_file_that_lacks_weights_is_refused(folders, other, tmp_path):
    state = original.vae(other)
    del state["encoder.conv_in.weight"]
    save_file(state, tmp_path / "vae.safetensors")
    with pytest.raises(UserError, match=r"model\.vae: the vae of .* lacks some of its weights"):
        load(str(folders["sd1"]), vae=str(tmp_path / "vae.safetensors"))


def test_latents_of_another_kind_are_refused(folders, other, tmp_path):
    wide = type(other).from_config({**other.config, "latent_channels": 16})
    wide.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"model\.vae: .* has latents of 16 channels, the U-Net takes 4"):
        load(str(folders["sd1"]), vae=str(tmp_path))
