"""Files that are not embeddings: LoRAs, models, checkpoints and the like, recognized by the names of their tensors."""

import re
from collections.abc import Sequence

from tinv.errors import UserError
from tinv.formats.content import MAX_TENSORS, Content

NAME = "no embedding"
_WEIGHT = re.compile(r"\.(weight|bias|alpha|diff(_b)?|dora_scale|hada_\w+|lokr_\w+)$|^\w+:\d+:(up|down|rank)\b", re.I)
_LORA = re.compile(r"lora|lycoris|hada_|lokr_|dora_|:(up|down)", re.I)
_XTI_LAYERS = {"IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "MID", *(f"OUT{i:02}" for i in range(3, 12))}
_CHECKPOINT = {"state_dict", "optimizer_states", "model_state_dict"}


def is_lora(names: Sequence[str]) -> bool:
    """Returns whether tensors of these names belong to a LoRA or a similar adapter."""
    return any(_WEIGHT.search(name) and _LORA.search(name) for name in names)


def read(content: Content) -> None:
    """Refuses a LoRA, a network, a checkpoint and the like; returns None for anything else.

    Raises:
        UserError: it is no embedding; the message says what it is.
    """
    names, path = content.names, content.path
    if is_lora(names):
        raise UserError(f"{path} is a LoRA, not an embedding; tinv reads textual inversion files")
    if len(names) > MAX_TENSORS or _CHECKPOINT.intersection(names):
        raise UserError(
            f"{path} is a model or a training checkpoint, not an embedding; give learned_embeds.safetensors"
        )
    if _XTI_LAYERS.issubset(names):
        raise UserError(
            f"{path} is an extended textual inversion (XTI): it has its own vectors for each layer of the U-Net, and "
            f"no other format can hold them"
        )
    if any(_WEIGHT.search(name) for name in names):
        raise UserError(
            f"{path} holds the weights of a network, not vectors: a mapper (such as NeTI's) or an adapter, no embedding"
        )
    if "optimizer_state_dict" in names:
        raise UserError(f"{path} is an optimizer state of AUTOMATIC1111's web UI; give the .pt file beside it")
