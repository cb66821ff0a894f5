import shutil
from collections import Counter
from functools import partial

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.resnet import ResnetBlock2D
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from tests.tiny import tiny_parts
from tinv.errors import UserError
from tinv.models import StableDiffusion, attention
from tinv.models.attention import check_gradients, use_xformers
from tinv.models.checkpointing import checkpoint_activations
from tinv.models.compiling import compile_unet
from tinv.models.runtime import check_runtime, prepare

PLAIN = {"attention": "sdpa", "gradient_checkpointing": False, "compile": False, "tf32": False}


def fresh() -> StableDiffusion:
    return StableDiffusion(name="tiny", **tiny_parts())


def prediction(model: StableDiffusion, rows: torch.Tensor) -> torch.Tensor:
    """A denoised batch, with everything that training runs between the rows and the loss."""
    draw = torch.Generator().manual_seed(2)
    conditioning = model.encode_text(["a photo of <x>", "<x> on a dog"], {"<x>": {"clip_l": rows}})
    return model.predict(torch.randn(2, 4, 16, 16, generator=draw), torch.tensor([3, 700]), conditioning, None)


def rows() -> torch.Tensor:
    return torch.randn(2, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()


def gradient(model: StableDiffusion) -> torch.Tensor:
    learned = rows()
    prediction(model, learned).square().mean().backward()
    return learned.grad


def test_with_checkpointing_every_layer_runs_twice_and_the_gradient_is_the_same_to_the_last_bit():
    expected, model, runs = gradient(fresh()), fresh(), Counter()
    prepare(model, **PLAIN | {"gradient_checkpointing": True})
    layers = [layer for layer in model.modules() if isinstance(layer, CLIPEncoderLayer | BasicTransformerBlock)]
    for layer in layers:
        inner = layer.norm3 if isinstance(layer, BasicTransformerBlock) else layer.layer_norm2
        inner.register_forward_pre_hook(lambda _, __, layer=layer: runs.update([layer]))
    assert torch.equal(gradient(model), expected)
    assert len(layers) == 6
    assert runs == dict.fromkeys(layers, 2)
    assert not any(module.training for module in model.modules())


def test_checkpointing_keeps_a_fraction_of_what_the_backward_pass_needs():
    def kept(model):
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
            hidden = model.encode_text(["a <x>"], {"<x>": {"clip_l": rows()}}).hidden
            of_text = sum(saved)
            model.predict(torch.zeros(1, 4, 16, 16), torch.tensor([3]), type("", (), {"hidden": hidden}), None)
        return of_text, sum(saved) - of_text

    plain, model = kept(fresh()), fresh()
    prepare(model, **PLAIN | {"gradient_checkpointing": True})
    text, unet = kept(model)
    assert text < plain[0] / 4 and unet < plain[1] / 3


def test_without_gradients_checkpointing_costs_nothing():
    model, runs = fresh(), Counter()
    prepare(model, **PLAIN | {"gradient_checkpointing": True})
    for block in (module for module in model.modules() if isinstance(module, ResnetBlock2D | CLIPEncoderLayer)):
        block.register_forward_hook(lambda block, *_: runs.update([block]))
    with torch.no_grad():
        assert torch.equal(prediction(model, rows()), prediction(fresh(), rows()))
    assert set(runs.values()) == {1}


@pytest.mark.parametrize("tf32", [True, False])
def test_one_run_of_a_sweep_leaves_no_tf32_to_the_next(tf32):
    try:
        prepare(fresh(), **PLAIN | {"tf32": tf32})
        assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
        prepare(fresh(), **PLAIN)
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_xformers_without_its_package_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setattr(attention, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'model.attention=xformers .* pip install "tinv\[xformers\]"'):
        check_runtime(attention="xformers", compile=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_xformers_without_a_cuda_device_is_refused(monkeypatch):
    monkeypatch.setattr(attention, "find_spec", lambda name: object())
    with pytest.raises(UserError, match="needs a CUDA device"):
        check_runtime(attention="xformers", compile=False)
    with pytest.raises(UserError, match="does not run on this machine"):
        use_xformers(fresh().unet)


class Detached(AttnProcessor):
    """Right pictures, no gradient."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **options):
        return super().__call__(attn, hidden_states, encoder_hidden_states.detach(), **options)


class Halved(AttnProcessor):
    """Right pictures, half of the gradient."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **options):
        told = encoder_hidden_states
        return super().__call__(attn, hidden_states, (told + told.detach()) / 2, **options)


@pytest.mark.parametrize(("processor", "off"), [(Detached, "100%"), (Halved, "50%")])
def test_attention_with_a_wrong_gradient_is_refused(processor, off):
    unet = fresh().unet
    unet.set_attn_processor(processor())
    with pytest.raises(UserError, match=f"wrong gradients .* 4 heads of 8 they are off by {off}"):
        check_gradients(unet, device="cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_attention_with_right_gradients_is_accepted_in_every_precision(dtype):
    check_gradients(fresh().unet.to(dtype), device="cpu")


def test_without_a_compiler_compilation_is_refused_before_anything_loads(monkeypatch):
    for variable in ("CXX", "CC", "PATH"):
        monkeypatch.setenv(variable, "")
    with pytest.raises(UserError, match=r"model.compile=true needs a C\+\+ compiler"):
        check_runtime(attention="sdpa", compile=True)
    check_runtime(attention="sdpa", compile=False)


def compiled(module: torch.nn.Module, monkeypatch, backend) -> torch.nn.Module:
    """All of torch.compile but the machine code, which takes minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    compile_unet(module)
    return module


def test_training_runs_compiled_and_sampling_runs_as_it_is(monkeypatch):
    graphs = []

    def backend(graph, inputs):
        graphs.append([tuple(given.shape) for given in inputs])
        return graph.forward

    layer, x = torch.nn.Linear(3, 2).requires_grad_(False), torch.ones(4, 3, requires_grad=True)
    expected, layer = layer(x), compiled(layer, monkeypatch, backend)
    with torch.no_grad():
        assert torch.equal(layer(x), expected)
    assert not graphs
    assert torch.equal(layer(x), expected) and torch.equal(layer(x), expected)
    assert len(graphs) == 1
    layer(torch.ones(5, 3, requires_grad=True))
    assert (4, 3) in graphs[0] and (5, 3) in graphs[1], "a shape is compiled as it is, not for any size"


def test_a_compiler_that_fails_is_explained(monkeypatch):
    def backend(graph, inputs):
        raise RuntimeError("no such instruction\nand much more")

    layer = compiled(torch.nn.Linear(3, 2), monkeypatch, backend)
    with pytest.raises(UserError, match=r"cannot be compiled here \(no such instruction\); write model.compile=false"):
        layer(torch.ones(4, 3))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_a_compiled_unet_has_the_gradient_of_the_plain_one():
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        layers_per_block=1,
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    checkpoint_activations(unet.requires_grad_(False).eval())
    draw = torch.Generator().manual_seed(0)
    x, context = torch.randn(2, 4, 8, 8, generator=draw), torch.randn(2, 7, 8, generator=draw).requires_grad_()

    def context_gradient():
        (found,) = torch.autograd.grad(unet(x, torch.tensor([3, 700]), context).sample.square().mean(), context)
        return found

    expected = context_gradient()
    compile_unet(unet)
    torch.testing.assert_close(context_gradient(), expected, rtol=1e-3, atol=1e-6 * expected.norm().item())


@pytest.mark.gpu
def test_xformers_has_right_gradients_on_this_machine():
    pytest.importorskip("xformers")
    unet = fresh().unet.to("cuda")
    use_xformers(unet)
