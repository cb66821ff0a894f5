"""Memory for time: activations are computed again in the backward pass instead of being kept."""

from functools import partial

from diffusers import ModelMixin
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

_recompute = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
"""A frozen model draws no random numbers, so there is no state of theirs to keep."""


def checkpoint_activations(model: nn.Module) -> None:
    """Have the U-Net and every text encoder of a model keep no more than what goes into their layers.

    The gradients are those of the whole memory, to the last bit. transformers' own switch would do nothing here: its
    layers look at it in training mode only, and the frozen model is never in that.
    """
    for part in model.modules():
        if isinstance(part, ModelMixin):
            part.enable_gradient_checkpointing(_recompute)
        if isinstance(part, GradientCheckpointingLayer):
            part.forward = partial(_recompute, part.forward)
