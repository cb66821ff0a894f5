"""Conditioning of tokens with parts; ordinary tokens never enter its code."""

import pytest
import torch
from torch import nn

from tests.tiny import tiny_module
from tinv.models import conditioning, sampling
from tinv.models.conditioning import route_by_timestep, side_by_side
from tinv.models.sampling import sample_pixels


def test_ordinary_tokens_are_encoded_and_predicted_directly(model, batch, monkeypatch):
    module = tiny_module(model, num_vectors=2)
    names = ("encode_at_timesteps", "encode_all_parts", "expand_parts", "stage_of", "mentioned", "SlotLayout")
    for name in names:
        monkeypatch.setattr(conditioning, name, None)
    for name in ("encode_all_parts", "route_by_timestep", "mentioned", "SlotLayout"):
        monkeypatch.setattr(sampling, name, None)
    module.losses(batch).mean().backward()
    assert module.learned_tokens[0].embedding.weights["clip_l"].grad.any()
    pixels = sample_pixels(model, ["a <cat-toy>"], module.export_vectors(), seeds=[1], num_inference_steps=1)
    assert torch.isfinite(pixels).all()


@pytest.mark.parametrize(("timesteps", "t"), [((0, 1000), [900, 100, 600]), ((1, 0), [0.1, 0.9, 0.4])])
def test_masks_and_features_are_those_of_the_stage(timesteps, t):
    """Captions may differ in length between stages; the timestep may fall as noise rises."""

    class Denoiser(nn.Module):
        def forward(self, **arguments):
            return arguments

    hidden, mask = torch.randn(2 * 3, 5, 4), torch.randint(2, (2 * 3, 5))
    arguments = {"encoder_hidden_states": side_by_side(hidden, 2), "encoder_attention_mask": side_by_side(mask, 2)}
    denoiser = Denoiser()
    with route_by_timestep(denoiser, 2, *timesteps):
        output = denoiser(timestep=torch.tensor(t), **arguments)
    assert torch.equal(output["encoder_hidden_states"], hidden[[3, 1, 5]])
    assert torch.equal(output["encoder_attention_mask"], mask[[3, 1, 5]])
