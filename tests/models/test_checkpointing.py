from collections import Counter

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from transformers.modeling_layers import GradientCheckpointingLayer

from tests.models.published import LAYOUTS, SIDE
from tinv.models import load

GEOMETRY = torch.tensor([[48, 40, 0, 4, SIDE, SIDE], [SIDE, SIDE, 0, 0, SIDE, SIDE]])
LAYERS = (GradientCheckpointingLayer, BasicTransformerBlock, ResnetBlock2D)


def predict(model, rows):
    """What training runs between the rows and the loss."""
    draw = torch.Generator().manual_seed(2)
    x_t = torch.randn(2, 4, SIDE // 2, SIDE // 2, generator=draw)
    conditioning = model.encode_text(["a photo of <x>", "<x> on a dog"], {"<x>": rows})
    return model.predict(x_t, torch.tensor([3, 700]), conditioning, GEOMETRY)


def start(model):
    draw = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(2, table.shape[1], generator=draw).requires_grad_() for name, table in model.tables.items()
    }


def gradients(model):
    rows = start(model)
    predict(model, rows).square().mean().backward()
    return {name: row.grad for name, row in rows.items()}


def passed_by_gradients(model):
    """The layers between the rows and the loss, by name."""
    found = {name: layer for name, layer in model.named_modules() if isinstance(layer, LAYERS)}
    del found["unet.down_blocks.0.resnets.0"]  # comes before the first text features
    del found["unet.mid_block.resnets.0"]  # diffusers keeps what this one computes, at the lowest resolution
    if hasattr(model, "text_encoder_2"):
        del found["text_encoder.encoder.layers.1"]  # SDXL reads the last but one
    return found


@pytest.fixture(scope="module")
def thrifty(folders):
    """Each layout, with gradient checkpointing."""
    return {name: load(str(folder), gradient_checkpointing=True) for name, folder in folders.items()}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_gradient_of_the_rows_is_the_same_to_the_last_bit(models, thrifty, name):
    expected, found = gradients(models[name]), gradients(thrifty[name])
    assert len(expected) == (2 if name == "sdxl" else 1)
    assert all(torch.equal(expected[encoder], found[encoder]) and expected[encoder].any() for encoder in expected)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layer_of_the_unet_and_of_every_text_encoder_runs_again_in_the_backward_pass(thrifty, name):
    """E-17: the reference script for SDXL forgets the U-Net."""
    model, runs, hooks = thrifty[name], Counter(), []
    layers = passed_by_gradients(model)
    for path, layer in layers.items():
        first = next(module for module in layer.modules() if hasattr(module, "weight"))
        hooks.append(first.register_forward_pre_hook(lambda *_, path=path: runs.update([path])))
    gradients(model)
    for hook in hooks:
        hook.remove()
    assert {path.partition(".")[0] for path in layers} == {part for part, _ in model.named_children()}
    assert runs == dict.fromkeys(layers, 2)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_fraction_is_kept_for_the_backward_pass(models, thrifty, name):
    def kept(model):
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
            predict(model, start(model))
        return sum(saved)

    assert kept(thrifty[name]) < kept(models[name]) / 3


@pytest.mark.parametrize("name", LAYOUTS)
def test_without_gradients_nothing_runs_twice_and_nothing_changes(models, thrifty, name):
    with torch.no_grad():
        assert torch.equal(predict(thrifty[name], start(thrifty[name])), predict(models[name], start(models[name])))
