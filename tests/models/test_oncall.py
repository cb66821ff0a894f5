import pytest
import torch
from diffusers import AutoencoderKL
from lightning.pytorch import Callback
from torch import nn

from tests.tiny import RESOLUTION, tiny_data, tiny_images, tiny_model, tiny_module, tiny_pipeline, tiny_trainer
from tinv.models.vae import OffloadedModule
from tinv.training.run import train


class Traveller(nn.Linear):
    """Notes where it is sent, and goes nowhere: there is one device here."""

    def __init__(self):
        super().__init__(1, 1)
        self.journey = []

    def to(self, device):
        self.journey.append(torch.device(device).type)
        return self


def test_a_part_comes_when_called_and_goes_home_whatever_happens():
    part = Traveller()
    with pytest.raises(ZeroDivisionError), OffloadedModule(part).at("cuda"):
        assert part.journey == ["cuda"]
        raise ZeroDivisionError
    assert part.journey == ["cuda", "cpu"]


def test_an_inner_call_does_not_send_the_part_home():
    part = nn.Linear(1, 1)
    on_call = OffloadedModule(part)
    with on_call.at("cpu") as outer, on_call.at("cpu") as inner:
        assert outer is inner is part
    with torch.device("meta"):
        on_call = OffloadedModule(nn.Linear(1, 1))
    with on_call.at("meta"):
        with on_call.at("meta"):
            pass
        assert on_call.part.weight.device.type == "meta"


def test_what_moves_or_casts_the_model_leaves_the_vae_where_and_what_it_is(tmp_path):
    model = tiny_model(tmp_path)
    model.to(torch.bfloat16).to("meta")
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("meta", torch.bfloat16)}
    assert {(p.device.type, p.dtype) for p in model.vae.parameters()} == {("cpu", torch.float32)}
    assert not any(name.startswith("vae") for name, _ in [*model.named_parameters(), *model.named_buffers()])


def test_the_vae_is_as_frozen_as_the_rest(tmp_path):
    model = tiny_model(tmp_path)
    model.train()
    assert not any(parameter.requires_grad for parameter in model.vae.parameters())
    assert not any(module.training for module in model.vae.modules())


def test_decoded_latents_are_the_pixels_of_the_plain_vae(tmp_path):
    model = tiny_model(tmp_path)
    latents = torch.randn(2, 4, RESOLUTION // 2, RESOLUTION // 2, generator=torch.Generator().manual_seed(0))
    expected = model.vae.decode(latents / model.vae.config.scaling_factor).sample
    assert torch.equal(model.decode_latents(latents), (expected * 0.5 + 0.5).clamp(0, 1))


def test_a_run_calls_the_vae_to_encode_and_to_decode_and_trains_without_it(compose, tmp_path, monkeypatch):
    """On the CPU nothing moves, but this is the order in which it would."""
    events = []

    def noted(name, original):
        def method(vae, *arguments, **options):
            events.append(name)
            return original(vae, *arguments, **options)

        return method

    for name in ("to", "encode", "decode"):
        monkeypatch.setattr(AutoencoderKL, name, noted(name, getattr(AutoencoderKL, name)))
    cfg = compose(
        "model=local",
        f"model.pretrained={tiny_pipeline(tmp_path / 'model')}",
        f"data.folder={tiny_images(tmp_path / 'pictures')}",
        "concept.placeholder_token=my-cat",
        "concept.initializer_token=toy",
        "data.val_draws=2",
        "paths.cache_dir=null",  # else what another test has encoded would do
        "trainer.max_steps=2",
        "trainer.accelerator=cpu",
        "callbacks.samples.seeds=[0]",
        "callbacks.samples.num_inference_steps=1",
        "callbacks.samples.every_n_steps=null",
    )
    events.clear()
    train(cfg)
    loaded = events.index("encode") - 1
    encoding, sampling = ["to", *["encode"] * 3, "to"], ["to", "decode", "to"]
    assert events[loaded:] == encoding + 2 * sampling


@pytest.mark.gpu
def test_the_device_holds_the_vae_only_while_it_encodes(tmp_path):
    model = tiny_model(tmp_path / "model")
    with model.offloaded_vae.at("cuda"):
        data = tiny_data(tmp_path / "data", model)
        assert model.vae.device.type == "cuda"
    places = set()

    class Watch(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            places.add((pl_module.model.unet.device.type, pl_module.model.vae.device.type))

    module = tiny_module(model)
    tiny_trainer(accelerator="gpu", devices=1, callbacks=[Watch()]).fit(module, data)
    assert places == {("cuda", "cpu")}
