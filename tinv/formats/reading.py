"""Reads an embedding file by its content; anything else is refused in words."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tinv.errors import UserError
from tinv.formats.learned import LearnedEmbedding, encoder_of_width

_NAMELESS = {"emb_params", "emp_params", "clip_l", "clip_g", "t5", "t5xxl"}
"""Keys by which other programs call the vectors, instead of the word's own name."""
_NAMES = ("learned_embeds.safetensors", "learned_embeds.bin")
_MODEL_SIZED = 64
"""More tensors than that are a model, whatever they are called."""


def read(path: Path | str) -> LearnedEmbedding:
    """The learned word in a file: diffusers' safetensors, or its older `.bin` (never unpickling code).

    Args:
        path: the file, or the folder of a run or of the sd-concepts-library that holds it.

    Raises:
        UserError: there is no such file, it is not whole, or it is something else.
    """
    path = _file(Path(path))
    if not path.is_file():
        raise UserError(f"there is no embedding file {path}; give a run folder or a .safetensors or .bin file")
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise UserError(f"{path} is empty; was its download or its disk interrupted?")
    tensors: Mapping[str, Any]
    if head[8:9] == b"{":
        tensors, metadata = _read_safetensors(path)
    elif head[:2] == b"PK" or head[:1] == b"\x80":
        tensors, metadata = _read_torch(path), {}
    else:
        raise UserError(
            f"{path} is no embedding file: it begins with {_shown(head)!r}; give the .safetensors or .bin file itself "
            f"(not a web page, a text or a picture)"
        )
    word, rows = _one_word(path, tensors)
    provenance = {key: value for key, value in metadata.items() if key != "format"}
    return LearnedEmbedding(word, {encoder_of_width(rows.shape[1]): rows}, provenance)


def _file(place: Path) -> Path:
    """The file in a folder, by the names that programs give it; any other place as it is."""
    if not place.is_dir():
        return place
    for name in _NAMES:
        if (place / name).is_file():
            return place / name
    raise UserError(f"the folder {place} holds no {' or '.join(_NAMES)}; give a run that has ended, or the file itself")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            kept = names[: _MODEL_SIZED + 1]  # no need to read a whole model to see that it is one
            return {name: file.get_tensor(name) for name in kept}, file.metadata() or {}
    except SafetensorError as error:
        raise UserError(
            f"{path} is a broken safetensors file ({error}); is it cut short? Fetch or export it again"
        ) from error


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as plain tensors: it is cut short, or it holds code, which is never run; "
            f"fetch it again or ask for a .safetensors file"
        ) from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not a word and its vectors; it is no embedding file")
    return content


def _one_word(path: Path, tensors: Mapping[str, Any]) -> tuple[str, Tensor]:
    """The word and its rows [K, D], if that is what the file holds."""
    names = [str(name) for name in tensors]
    if any("lora" in name.lower() for name in names):
        raise UserError(f"{path} is a LoRA, not an embedding; tinv reads textual-inversion files")
    if len(names) > _MODEL_SIZED or "state_dict" in names:
        raise UserError(
            f"{path} is a model or a training checkpoint, not an embedding; give learned_embeds.safetensors"
        )
    if "string_to_param" in names or (names and _NAMELESS.issuperset(names)):
        raise UserError(
            f"{path} is an embedding of another program (it holds {', '.join(names)}) and does not name its word; "
            f"tinv reads diffusers' layout, one tensor under the placeholder"
        )
    if len(names) != 1:
        raise UserError(
            f"{path} holds {len(names)} tensors ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''}), an "
            f"embedding file holds one under its placeholder; split it into one file a word"
        )
    (name,), (rows,) = names, tensors.values()
    if not isinstance(rows, Tensor) or not rows.is_floating_point() or rows.ndim not in (1, 2) or not rows.numel():
        shape = f"of shape {list(rows.shape)}, {rows.dtype}" if isinstance(rows, Tensor) else type(rows).__name__
        raise UserError(f"{path} holds {name!r} {shape}, not vectors [K, D]; it is no embedding file")
    if not rows.isfinite().all():
        raise UserError(f"{path} holds values of {name!r} that are not finite; the run that wrote it had failed")
    return name, rows.detach().float().reshape(-1, rows.shape[-1]).clone()


def _shown(head: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in head[:16])
