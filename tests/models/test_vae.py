"""The VAE: on the device only while it works, and replaced by `model.vae`."""

import copy
import shutil

import pytest
import torch
from diffusers import AutoencoderKL
from lightning.pytorch import Callback
from safetensors.torch import save_file
from torch import nn

from tests.models import original
from tests.models.published import published
from tests.tiny import RESOLUTION, tiny_data, tiny_model, tiny_module, tiny_trainer
from tinv.errors import UserError
from tinv.models import load
from tinv.models.vae import OffloadedModule
from tinv.training.run import train


class Recorder(nn.Linear):
    """Records the devices that it is moved to, and does not move: there is only one here."""

    def __init__(self):
        super().__init__(1, 1)
        self.devices = []

    def to(self, device):
        self.devices.append(torch.device(device).type)
        return self


def test_an_offloaded_module_returns_to_the_cpu_even_after_an_error():
    module = Recorder()
    with pytest.raises(ZeroDivisionError), OffloadedModule(module).on("cuda"):
        assert module.devices == ["cuda"]
        raise ZeroDivisionError
    assert module.devices == ["cuda", "cpu"]


def test_an_inner_block_does_not_move_the_module_away():
    with torch.device("meta"):
        offloaded = OffloadedModule(nn.Linear(1, 1))
    with offloaded.on("meta") as outer:
        with offloaded.on("meta") as inner:
            assert outer is inner is offloaded.module
        assert offloaded.module.weight.device.type == "meta"


def test_moving_or_casting_the_model_leaves_the_vae_as_it_is(pipeline_folder):
    model = load(str(pipeline_folder))
    model.to(torch.bfloat16).to("meta")
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("meta", torch.bfloat16)}
    assert {(p.device.type, p.dtype) for p in model.vae.parameters()} == {("cpu", torch.float32)}
    assert not any(name.startswith("vae") for name, _ in [*model.named_parameters(), *model.named_buffers()])


def test_decoded_latents_are_the_pixels_of_the_plain_vae(model):
    latents = torch.randn(2, 4, RESOLUTION // 2, RESOLUTION // 2, generator=torch.Generator().manual_seed(0))
    expected = model.vae.decode(latents / model.vae.config.scaling_factor).sample
    assert torch.equal(model.decode_latents(latents), (expected * 0.5 + 0.5).clamp(0, 1))


def test_a_run_moves_the_vae_to_encode_and_to_decode_and_trains_without_it(compose_local, pipeline_folder, monkeypatch):
    """On the CPU nothing moves, but the calls have this order."""
    calls = []

    def record(name, original):
        def method(vae, *arguments, **options):
            calls.append(name)
            return original(vae, *arguments, **options)

        return method

    for name in ("to", "encode", "decode"):
        monkeypatch.setattr(AutoencoderKL, name, record(name, getattr(AutoencoderKL, name)))
    # without a cache, so that the latents of another test are not used
    train(compose_local(pipeline_folder, "paths.cache_dir=null", "callbacks.samples.every_n_steps=null"))
    loading = calls.index("encode") - 1
    assert calls[loading:] == ["to", *["encode"] * 3, "to"] + 2 * ["to", "decode", "to"]


@pytest.mark.gpu
def test_the_device_holds_the_vae_only_while_it_encodes(tmp_path):
    model = tiny_model(tmp_path / "model")
    with model.offloaded_vae.on("cuda"):
        data = tiny_data(tmp_path / "data", model)
        assert model.vae.device.type == "cuda"
    devices = set()

    class Watch(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            devices.add((pl_module.model.unet.device.type, pl_module.model.vae.device.type))

    tiny_trainer(accelerator="gpu", devices=1, callbacks=[Watch()]).fit(tiny_module(model), data)
    assert devices == {("cuda", "cpu")}


# --- model.vae --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other():
    """A VAE with other weights and another scale."""
    vae = copy.deepcopy(published("sd1").vae)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.01)
    vae.register_to_config(scaling_factor=0.5)
    return vae


@pytest.fixture
def other_folder(other, tmp_path):
    other.save_pretrained(tmp_path / "other")
    return str(tmp_path / "other")


def has_vae(model, other):
    return all(torch.equal(model.vae.state_dict()[name], value) for name, value in other.state_dict().items())


def test_a_vae_can_be_a_folder_a_pipeline_or_a_file_in_either_layout(folders, other, other_folder, tmp_path):
    pipeline = copy.deepcopy(published("sd1"))
    pipeline.vae = other
    pipeline.save_pretrained(tmp_path / "pipeline")
    state = original.vae(other)
    save_file(state, tmp_path / "bare.safetensors")
    save_file({f"first_stage_model.{name}": value for name, value in state.items()}, tmp_path / "prefixed.safetensors")
    torch.save({"state_dict": state | {"loss.logvar": torch.zeros(1)}}, tmp_path / "bare.ckpt")
    save_file(other.state_dict(), tmp_path / "diffusers.safetensors")
    for path in tmp_path.iterdir():
        model = load(str(folders["sd1"]), vae=str(path))
        assert has_vae(model, other), path
        scale = 0.5 if path.is_dir() else published("sd1").vae.config.scaling_factor
        assert model.vae.config.scaling_factor == scale


def test_with_another_vae_the_models_own_may_be_missing(folders, other, other_folder, tmp_path):
    folder = shutil.copytree(folders["sd1"], tmp_path / "m", ignore=shutil.ignore_patterns("vae"))
    assert has_vae(load(str(folder), vae=other_folder), other)
    with pytest.raises(UserError, match="it has no vae"):
        load(str(folder))


def test_a_variant_of_the_model_uses_the_plain_weights_of_another_vae(other, other_folder, tmp_path):
    published("sd1").save_pretrained(tmp_path / "m", variant="fp16")
    assert has_vae(load(str(tmp_path / "m"), variant="fp16", vae=other_folder), other)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("unet", "the class UNet2DConditionModel"),
        ("text_encoder", "the class None"),
        ("missing", "no such folder or file"),
    ],
)
def test_anything_but_a_vae_is_refused(folders, kind, message):
    path = folders["sd1"] / kind if kind != "missing" else "./missing"
    with pytest.raises(UserError, match=rf"model\.vae=.*{message}"):
        load(str(folders["sd1"]), vae=str(path))


def test_a_vae_file_that_lacks_weights_is_refused(folders, other, tmp_path):
    state = original.vae(other)
    del state["encoder.conv_in.weight"]
    save_file(state, tmp_path / "vae.safetensors")
    with pytest.raises(UserError, match=r"model\.vae=.*: the vae lacks some of its weights"):
        load(str(folders["sd1"]), vae=str(tmp_path / "vae.safetensors"))


def test_latents_with_another_number_of_channels_are_refused(folders, other, tmp_path):
    type(other).from_config({**other.config, "latent_channels": 16}).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"model\.vae=.*have 16 channels, but the denoiser takes 4"):
        load(str(folders["sd1"]), vae=str(tmp_path))


@pytest.mark.parametrize("name", ["flux1_dev", "flux2_klein_base_4b", "sana_1600m", "qwen_image"])
def test_a_vae_has_the_class_of_the_familys_own(folder_of_family, folders, name, tmp_path):
    folder = folder_of_family(name)
    other = copy.deepcopy(load(str(folder)).vae)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.01)
    other.save_pretrained(tmp_path / "other")
    model = load(str(folder), vae=str(tmp_path / "other"))
    assert has_vae(model, other)
    assert torch.isfinite(model.decode_latents(model.encode_images(torch.zeros(1, 3, 32, 32)).chunk(2, dim=1)[0])).all()
    kind, file = type(other).__name__, tmp_path / "other" / "diffusion_pytorch_model.safetensors"
    if name != "flux1_dev":
        with pytest.raises(UserError, match=rf"this has the class AutoencoderKL\. Give an {kind} to "):
            load(str(folder), vae=str(folders["sd1"] / "vae"))
    if name in ("flux2_klein_base_4b", "qwen_image"):
        with pytest.raises(
            UserError, match=rf"model\.vae=.*: diffusers reads no file of an {kind}\. Give its folder\."
        ):
            load(str(folder), vae=str(file))
    else:
        assert has_vae(load(str(folder), vae=str(file)), other)
