import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor

from tests.tiny import tiny_parts
from tinv.errors import UserError
from tinv.models import attention, load
from tinv.models.attention import check_gradients, check_xformers, use_xformers


@pytest.fixture
def unet():
    return tiny_parts()["unet"].requires_grad_(False)


def test_xformers_without_its_package_is_refused_before_the_weights_are_looked_for(monkeypatch):
    monkeypatch.setattr(attention, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'model.attention=xformers .* pip install "tinv\[xformers\]"'):
        load("no/such/model", attention="xformers")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_xformers_without_a_cuda_device_is_refused(monkeypatch, unet):
    monkeypatch.setattr(attention, "find_spec", lambda name: object())
    with pytest.raises(UserError, match="needs a CUDA device"):
        check_xformers()
    with pytest.raises(UserError, match="does not run on this machine"):
        use_xformers(unet)


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
def test_attention_with_a_wrong_gradient_is_refused(unet, processor, off):
    unet.set_attn_processor(processor())
    with pytest.raises(UserError, match=f"wrong gradients .* 4 heads of 8 they are off by {off}"):
        check_gradients(unet, device="cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_attention_with_right_gradients_is_accepted_in_every_precision(unet, dtype):
    check_gradients(unet.to(dtype), device="cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_xformers_has_right_gradients_on_this_machine(unet, dtype):
    pytest.importorskip("xformers")
    use_xformers(unet.to(dtype))
