"""What is no embedding of a word, told from its names alone and refused in words."""

import re
from collections.abc import Sequence

from tinv.errors import UserError
from tinv.formats.content import MAX_TENSORS, Content

NAME = "no embedding"
_PART = re.compile(r"\.(weight|bias|alpha|diff(_b)?|dora_scale|hada_\w+|lokr_\w+)$|^\w+:\d+:(up|down|rank)\b", re.I)
_LORA = re.compile(r"lora|lycoris|hada_|lokr_|dora_|:(up|down)", re.I)
_LAYERS = {"IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "MID", *(f"OUT{i:02}" for i in range(3, 12))}
_CHECKPOINT = {"state_dict", "optimizer_states", "model_state_dict"}


def is_lora(names: Sequence[str]) -> bool:
    """Whether tensors of these names are a LoRA's, or another adapter's of its kind."""
    return any(_PART.search(name) and _LORA.search(name) for name in names)


def read(content: Content) -> None:
    """Nothing, where nothing speaks against it; a LoRA, a network, a checkpoint and the like are refused.

    Raises:
        UserError: saying what it is.
    """
    names, path = content.names, content.path
    if is_lora(names):
        raise UserError(f"{path} is a LoRA, not an embedding; tinv reads textual-inversion files")
    if len(names) > MAX_TENSORS or _CHECKPOINT.intersection(names):
        raise UserError(
            f"{path} is a model or a training checkpoint, not an embedding; give learned_embeds.safetensors"
        )
    if _LAYERS.issubset(names):
        raise UserError(
            f"{path} is an extended textual inversion (XTI): it has vectors of its own for each of the U-Net's layers "
            f"and cannot be used as one word; there is nothing to convert it to"
        )
    if any(_PART.search(name) for name in names):
        raise UserError(
            f"{path} holds the weights of a network, not vectors: a mapper (as NeTI's) or an adapter, no embedding"
        )
    if "optimizer_state_dict" in names:
        raise UserError(f"{path} is the optimizer's state of AUTOMATIC1111's web UI; give the .pt file beside it")
