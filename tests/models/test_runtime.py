"""Precision, gradient checkpointing and compilation of the frozen weights."""

import os
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from functools import partial

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from transformers.modeling_layers import GradientCheckpointingLayer

from tests.models.published import GEOMETRY, LAYOUTS
from tests.tiny import RESOLUTION, tiny_data, tiny_module, tiny_trainer, tiny_unet
from tinv.errors import UserError
from tinv.models import load
from tinv.models.runtime import check_loss_scale, checkpoint_activations, compile_denoiser

LAYERS = (GradientCheckpointingLayer, BasicTransformerBlock, ResnetBlock2D)
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")


# --- precision --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_frozen_weights_are_loaded_in_model_dtype(folders, name, dtype):
    model = load(str(folders[name]), dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    vae_dtype = "float32" if dtype == "float16" else dtype  # their configurations say that float16 would overflow
    assert {parameter.dtype for parameter in model.vae.parameters()} == {getattr(torch, vae_dtype)}


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [  # Lightning makes bf16-mixed of 16-mixed here
        *(("float32", precision) for precision in ("16-mixed", "16-true")),
        *(("bfloat16", precision) for precision in ("32-true", "bf16-mixed", "bf16-true")),
        ("float16", "32-true"),
    ],
)
@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_vectors_are_float32_and_gradients_finite_in_every_precision(folders, tmp_path, name, dtype, precision):
    model = load(str(folders[name]), dtype=dtype, gradient_checkpointing=True)
    module, gradients = tiny_module(model), []
    start = module.export_vectors()["<cat-toy>"]
    weights = module.learned_tokens[0].embedding.weights
    for vectors in weights.values():
        vectors.register_hook(gradients.append)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tiny_trainer(max_steps=1, precision=precision).fit(module, tiny_data(tmp_path, model))
    assert len(gradients) == len(weights) == len(model.tables)
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)
    for role, vectors in weights.items():
        assert vectors.dtype == torch.float32
        assert not torch.equal(vectors.detach().bfloat16().float(), vectors.detach())
        assert not torch.equal(vectors.detach(), start[role])


@pytest.mark.parametrize("tf32", [True, False])
def test_tf32_does_not_outlast_the_run_of_a_sweep(folders, tf32):
    try:
        load(str(folders["sd1"]), tf32=tf32)
        assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
        load(str(folders["sd1"]))
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_only_float16_without_a_scaled_loss_is_refused():
    for dtype, precision in (("float16", "32-true"), ("float16", "bf16-mixed"), ("float32", "16-true")):
        with pytest.raises(UserError, match=r"Set trainer\.precision=16-mixed on a GPU"):
            check_loss_scale(dtype, precision)
    for dtype, precision in (("float16", "16-mixed"), ("bfloat16", "32-true"), ("float32", "bf16-true")):
        check_loss_scale(dtype, precision)


# --- gradient checkpointing -------------------------------------------------------------------------------------------


def predict(model, vectors):
    """The part of a training step between the vectors and the loss."""
    generator = torch.Generator().manual_seed(2)
    x_t = torch.randn(2, 4, RESOLUTION // 2, RESOLUTION // 2, generator=generator)
    conditioning = model.encode_text(["a photo of <x>", "<x> on a dog"], {"<x>": vectors})
    return model.predict(x_t, torch.tensor([3, 700]), conditioning, GEOMETRY)


def start_of(model):
    generator, widths = torch.Generator().manual_seed(1), {role: table.shape[1] for role, table in model.tables.items()}
    return {role: torch.randn(2, width, generator=generator).requires_grad_() for role, width in widths.items()}


def gradients_of(model):
    vectors = start_of(model)
    predict(model, vectors).square().mean().backward()
    return {role: tensor.grad for role, tensor in vectors.items()}


@pytest.fixture(scope="module")
def checkpointed(folders):
    """Each layout, with gradient checkpointing."""
    return {name: load(str(folder), gradient_checkpointing=True) for name, folder in folders.items()}


@pytest.mark.parametrize("name", LAYOUTS)
def test_checkpointing_leaves_outputs_and_gradients_bit_identical(models, checkpointed, name):
    with torch.no_grad():
        assert torch.equal(*(predict(model, start_of(model)) for model in (checkpointed[name], models[name])))
    expected, result = gradients_of(models[name]), gradients_of(checkpointed[name])
    assert len(expected) == (2 if name == "sdxl" else 1)
    assert all(torch.equal(expected[role], result[role]) and expected[role].any() for role in expected)


@pytest.mark.parametrize("name", LAYOUTS)
def test_checkpointing_recomputes_every_layer_of_the_unet_and_of_every_text_encoder(checkpointed, name):
    """The reference script for SDXL omits the U-Net."""
    model, calls, hooks = checkpointed[name], Counter(), []
    layers = {path: layer for path, layer in model.named_modules() if isinstance(layer, LAYERS)}
    del layers["unet.down_blocks.0.resnets.0"]  # comes before the first text features
    del layers["unet.mid_block.resnets.0"]  # diffusers saves the output of this one, at the lowest resolution
    if name == "sdxl":
        del layers["text_encoder.encoder.layers.1"]  # SDXL reads the last but one
    for path, layer in layers.items():
        first = next(module for module in layer.modules() if hasattr(module, "weight"))
        hooks.append(first.register_forward_pre_hook(lambda *_, path=path: calls.update([path])))
    gradients_of(model)
    for hook in hooks:
        hook.remove()
    assert {path.partition(".")[0] for path in layers} == {component for component, _ in model.named_children()}
    assert calls == dict.fromkeys(layers, 2)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", LAYOUTS)
def test_checkpointing_saves_less_than_a_third_for_the_backward_pass(models, checkpointed, name):
    def num_saved(model):
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
            predict(model, start_of(model))
        return sum(saved)

    assert num_saved(checkpointed[name]) < num_saved(models[name]) / 3


# --- compilation ------------------------------------------------------------------------------------------------------


def test_without_a_compiler_compilation_is_refused_before_the_weights_are_looked_for(monkeypatch):
    for variable in ("CXX", "CC", "PATH"):
        monkeypatch.setenv(variable, "")
    with pytest.raises(UserError, match=r"model.compile=true needs a C\+\+ compiler"):
        load("no/such/model", compile=True)


def compiled(module: torch.nn.Module, monkeypatch, backend) -> torch.nn.Module:
    """torch.compile without code generation, which takes minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    compile_denoiser(module)
    return module


def test_training_is_compiled_for_each_shape_and_sampling_is_not(monkeypatch):
    graphs = []

    def backend(graph, inputs):
        graphs.append([tuple(tensor.shape) for tensor in inputs])
        return graph.forward

    layer, x = torch.nn.Linear(3, 2).requires_grad_(False), torch.ones(4, 3, requires_grad=True)
    expected, layer = layer(x), compiled(layer, monkeypatch, backend)
    with torch.no_grad():
        assert torch.equal(layer(x), expected)
    assert not graphs
    assert torch.equal(layer(x), expected) and torch.equal(layer(x), expected)
    assert len(graphs) == 1
    layer(torch.ones(5, 3, requires_grad=True))
    assert (4, 3) in graphs[0] and (5, 3) in graphs[1]


def test_a_failed_compilation_is_explained(monkeypatch):
    def backend(graph, inputs):
        raise RuntimeError("no such instruction\nand much more")

    layer = compiled(torch.nn.Linear(3, 2), monkeypatch, backend)
    with pytest.raises(UserError, match=r"cannot be compiled here \(no such instruction\). Set model.compile=false"):
        layer(torch.ones(4, 3))


@pytest.mark.slow
@needs_compiler
def test_a_compiled_unet_has_the_gradient_of_the_plain_one():
    blocks = {"block_out_channels": (8,), "down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    unet = tiny_unet(8, sample_size=8, attention_head_dim=2, norm_num_groups=4, **blocks)
    checkpoint_activations(unet.requires_grad_(False).eval())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 8, 8, generator=generator)
    context = torch.randn(2, 7, 8, generator=generator).requires_grad_()

    def context_gradient():
        output = unet(x, torch.tensor([3, 700]), context).sample
        return torch.autograd.grad(output.square().mean(), context)[0]

    expected = context_gradient()
    compile_denoiser(unet)
    torch.testing.assert_close(context_gradient(), expected, rtol=1e-3, atol=1e-6 * expected.norm().item())


@pytest.mark.slow
@needs_compiler
def test_compiled_code_is_reused_by_the_next_run(tmp_path):
    run = f"""
from pathlib import Path
import torch
from torch._dynamo.utils import counters
from tinv.models.runtime import compile_denoiser, set_compile_cache
set_compile_cache(Path({str(tmp_path)!r}))
layer = torch.nn.Linear(3, 2)
compile_denoiser(layer)
layer(torch.ones(4, 3)).sum().backward()
print(counters["aot_autograd"]["autograd_cache_hit"] + counters["inductor"]["fxgraph_cache_hit"])
"""
    environment = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    command = [sys.executable, "-c", run]
    runs = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    assert [int(result.stdout) > 0 for result in runs] == [False, True]
    assert list(tmp_path.iterdir())
