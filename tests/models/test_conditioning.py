"""Ordinary tokens never enter the machinery for tokens with parts."""

import torch

from tests.tiny import tiny_module
from tinv.models import conditioning, sampling
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
