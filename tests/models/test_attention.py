"""xformers is refused unless it works here; on the CPU, attention is computed in float32."""

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor

from tests.models.published import GEOMETRY, LAYOUTS
from tests.tiny import tiny_parts
from tinv.errors import UserError
from tinv.models import attention, load, runtime
from tinv.models.attention import check_gradients, check_xformers, use_xformers

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])


@pytest.fixture
def unet():
    return tiny_parts()["unet"].requires_grad_(False)


def test_xformers_without_its_package_is_refused_before_the_weights_are_looked_for(monkeypatch):
    monkeypatch.setattr(attention, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'model.attention=xformers.* pip install "tinv\[xformers\]"'):
        load("no/such/model", attention="xformers")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_xformers_without_a_cuda_device_is_refused(monkeypatch, unet):
    monkeypatch.setattr(attention, "find_spec", lambda name: object())
    with pytest.raises(UserError, match="needs a CUDA device"):
        check_xformers()
    with pytest.raises(UserError, match="does not run on this machine"):
        use_xformers(unet)


class Detached(AttnProcessor):
    """Correct output, no gradient."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **options):
        return super().__call__(attn, hidden_states, encoder_hidden_states.detach(), **options)


class Halved(AttnProcessor):
    """Correct output, half of the gradient."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **options):
        context = (encoder_hidden_states + encoder_hidden_states.detach()) / 2
        return super().__call__(attn, hidden_states, context, **options)


@pytest.mark.parametrize(("processor", "error"), [(Detached, "100%"), (Halved, "50%")])
def test_attention_with_a_wrong_gradient_is_refused(unet, processor, error):
    unet.set_attn_processor(processor())
    with pytest.raises(UserError, match=f"wrong gradients .* 4 heads of 8 they are off by {error}"):
        check_gradients(unet, device="cpu")


@DTYPES
def test_attention_with_correct_gradients_is_accepted_in_every_precision(unet, dtype):
    check_gradients(unet.to(dtype), device="cpu")


@pytest.mark.gpu
@DTYPES
def test_xformers_has_correct_gradients_on_this_machine(unet, dtype):
    pytest.importorskip("xformers")
    use_xformers(unet.to(dtype))


def gradients(model, monkeypatch):
    """The gradients of the vectors in a step, and the precisions that attention was computed in."""
    dtypes, plain = set(), F.scaled_dot_product_attention

    def record(query, key, value, *arguments, **options):
        dtypes.update((query.dtype, key.dtype, value.dtype))
        return plain(query, key, value, *arguments, **options)

    vectors = {role: table[3:4].float().clone().requires_grad_() for role, table in model.tables.items()}
    channels, side = model.unet.config.in_channels, model.unet.config.sample_size
    noisy = torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))
    with monkeypatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", record)
        conditioning = model.encode_text(["a photo of a <cat-toy>", "a <cat-toy>"], {"<cat-toy>": vectors})
        predicted = model.predict(noisy, torch.tensor([10, 700]), conditioning, GEOMETRY)
    predicted.float().square().mean().backward()
    return torch.cat([tensor.grad.flatten() for tensor in vectors.values()]), dtypes


@pytest.mark.parametrize("name", LAYOUTS)
def test_with_bfloat16_weights_attention_is_float32_and_gradients_are_as_exact_as_without(folders, name, monkeypatch):
    exact, _ = gradients(load(str(folders[name])), monkeypatch)
    upcast, dtypes = gradients(load(str(folders[name]), dtype="bfloat16"), monkeypatch)
    assert dtypes == {torch.float32}
    monkeypatch.setattr(runtime, "upcast_attention", lambda model: None)
    plain, dtypes = gradients(load(str(folders[name]), dtype="bfloat16"), monkeypatch)
    assert dtypes == {torch.bfloat16}
    assert F.cosine_similarity(exact, upcast, dim=0) > 0.99
    assert (upcast - exact).norm() < 1.5 * (plain - exact).norm()
