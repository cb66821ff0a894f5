"""On the CPU, attention of bfloat16 weights is computed in float32."""

import pytest
import torch
import torch.nn.functional as F

from tests.models.published import LAYOUTS
from tinv.models import load, runtime

CAPTIONS = ["a photo of a <cat-toy>", "a <cat-toy>"]


def gradients(model, monkeypatch):
    """The rows' gradients of a step, and the precisions that attention was computed in."""
    seen, plain = set(), F.scaled_dot_product_attention

    def listening(query, key, value, *arguments, **named):
        seen.update((query.dtype, key.dtype, value.dtype))
        return plain(query, key, value, *arguments, **named)

    rows = {name: table[3:4].float().clone().requires_grad_() for name, table in model.tables.items()}
    channels, side = model.unet.config.in_channels, model.unet.config.sample_size
    noisy = torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))
    geometry = torch.tensor([[32, 32, 0, 0, 32, 32]] * 2)
    with monkeypatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", listening)
        conditioning = model.encode_text(CAPTIONS, {"<cat-toy>": rows})
        predicted = model.predict(noisy, torch.tensor([10, 700]), conditioning, geometry)
    predicted.float().square().mean().backward()
    return torch.cat([row.grad.flatten() for row in rows.values()]), seen


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layer_attends_in_float32_and_the_gradients_are_as_near_as_bfloat16_gets(folders, name, monkeypatch):
    exact, _ = gradients(load(str(folders[name])), monkeypatch)
    upcast, precisions = gradients(load(str(folders[name]), dtype="bfloat16"), monkeypatch)
    assert precisions == {torch.float32}
    monkeypatch.setattr(runtime, "upcast_attention", lambda model: None)
    plain, precisions = gradients(load(str(folders[name]), dtype="bfloat16"), monkeypatch)
    assert precisions == {torch.bfloat16}
    assert F.cosine_similarity(exact, upcast, dim=0) > 0.99
    assert (upcast - exact).norm() < 1.5 * (plain - exact).norm()
