import os
import shutil
import subprocess
import sys
from functools import partial

import pytest
import torch
from diffusers import UNet2DConditionModel

from tinv.errors import UserError
from tinv.models import load
from tinv.models.runtime import checkpoint_activations, compile_unet


def test_without_a_compiler_compilation_is_refused_before_the_weights_are_looked_for(monkeypatch):
    for variable in ("CXX", "CC", "PATH"):
        monkeypatch.setenv(variable, "")
    with pytest.raises(UserError, match=r"model.compile=true needs a C\+\+ compiler"):
        load("no/such/model", compile=True)


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
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
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


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_what_one_run_has_compiled_the_next_one_finds(tmp_path):
    run = f"""
from pathlib import Path
import torch
from torch._dynamo.utils import counters
from tinv.models.runtime import compile_unet, set_compile_cache
set_compile_cache(Path({str(tmp_path)!r}))
layer = torch.nn.Linear(3, 2)
compile_unet(layer)
layer(torch.ones(4, 3)).sum().backward()
print(counters["aot_autograd"]["autograd_cache_hit"] + counters["inductor"]["fxgraph_cache_hit"])
"""
    environment = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    command = [sys.executable, "-c", run]
    found = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    assert [int(one.stdout) > 0 for one in found] == [False, True]
    assert list(tmp_path.iterdir())
