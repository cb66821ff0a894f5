"""oneDNN multiplies the frozen float32 weights on the CPU: the same numbers, the same files."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from tests.models.published import LAYOUTS
from tests.models.test_upcast import gradients
from tinv.config.validate import ConfigError
from tinv.errors import UserError
from tinv.models import load
from tinv.models import onednn_linear as products
from tinv.models.onednn_linear import FEW_NUMBERS, FEW_TOKENS, check_products, use_onednn
from tinv.training.preflight import prepare

BLAS = {"aten::addmm", "aten::mm", "aten::_slow_conv2d_forward", "aten::_slow_conv2d_backward"}
WIDTH = FEW_NUMBERS // 64


@pytest.fixture
def one_thread():
    """With several, torch gives convolutions of 1 x 1 to oneDNN by itself."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def called(compute):
    """The operators of torch that a computation ends in."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        compute()
    return {event.key for event in seen.key_averages()}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_gradients_are_those_of_torchs_own_products(folders, name, monkeypatch):
    expected, _ = gradients(load(str(folders[name])), monkeypatch)
    monkeypatch.setattr(products, "FEW_TOKENS", 0)
    monkeypatch.setattr(products, "FEW_NUMBERS", 0)
    found, _ = gradients(load(str(folders[name]), products="onednn"), monkeypatch)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("tokens", [(65,), (5, 13), (3, 2, 11)])
def test_products_of_many_tokens_are_onednns_both_ways(one_thread, tokens):
    plain = torch.nn.Linear(WIDTH, 5).requires_grad_(False)
    x = torch.randn(*tokens, WIDTH, requires_grad=True)
    expected = plain(x)
    (gradient,) = torch.autograd.grad(expected.square().sum(), x)
    layer = torch.nn.Linear(WIDTH, 5).requires_grad_(False)
    layer.load_state_dict(plain.state_dict())
    use_onednn(layer)

    def compute():
        found = layer(x)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(torch.autograd.grad(found.square().sum(), x)[0], gradient)

    names = called(compute)
    assert "aten::mkldnn_convolution" in names
    assert not names & BLAS
    assert not {"aten::copy_", "aten::contiguous"} & called(lambda: layer(x.detach())), "seen as pixels, not copied"


def test_so_are_convolutions_of_one_pixel(one_thread):
    layer, x = torch.nn.Conv2d(7, 5, 1).requires_grad_(False), torch.randn(2, 7, 4, 4, requires_grad=True)
    expected = layer(x)
    assert "aten::_slow_conv2d_forward" in called(lambda: layer(x))
    use_onednn(layer)
    torch.testing.assert_close(layer(x), expected)
    assert not called(lambda: layer(x).sum().backward()) & BLAS


@pytest.mark.parametrize(("tokens", "width"), [(64, WIDTH), (FEW_TOKENS, 2 * WIDTH + 99)])
def test_few_tokens_stay_with_torch(one_thread, tokens, width):
    layer = torch.nn.Linear(width, 5)
    x = torch.randn(tokens, width)
    expected = layer(x)
    use_onednn(layer)
    assert torch.equal(layer(x), expected)
    assert "aten::mkldnn_convolution" not in called(lambda: layer(x))


def test_nothing_is_saved_that_was_not_there(folders):
    plain, onednn = (load(str(folders["sd1"]), products=kind).state_dict() for kind in ("torch", "onednn"))
    assert plain.keys() == onednn.keys()
    assert all(torch.equal(plain[name], onednn[name]) for name in plain)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dtype": "bfloat16"}, r"is for float32, got model\.dtype=bfloat16"),
        ({"precision": "bf16-mixed"}, r"is for float32, .* trainer\.precision=bf16-mixed"),
        ({"accelerator": "gpu"}, r"is for CPUs, and trainer\.accelerator=gpu"),
    ],
)
def test_where_it_has_nothing_to_do_it_is_refused(settings, said):
    asked = {"dtype": None, "precision": None, "accelerator": "cpu"} | settings
    check_products("torch", **asked)
    with pytest.raises(UserError, match=rf"model\.products=onednn {said}.*write model\.products=torch"):
        check_products("onednn", **asked)


def test_a_command_is_refused_before_the_weights_are_looked_for(compose):
    command = ("+experiment=cat_toy", "trainer=cpu", "model.products=onednn")
    assert prepare(compose(*command))
    with pytest.raises(ConfigError, match=r"model\.products=onednn is for float32"):
        prepare(compose(*command, "model.dtype=bfloat16"))


def test_whatever_has_a_gpu_has_to_be_told_to_do_without(monkeypatch):
    asked = {"dtype": "float32", "precision": "32-true"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_products("onednn", accelerator="cpu", **asked)
    with pytest.raises(UserError, match=r"or trainer=cpu"):
        check_products("onednn", accelerator="auto", **asked)


def test_a_torch_without_onednn_is_refused(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"built without oneDNN"):
        check_products("onednn", dtype=None, precision=None, accelerator="cpu")
