"""Compares the tensors and files of the script's run and tinv's."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from safetensors import safe_open
from torch import Tensor

from bench.reference.replay import Replay
from tinv import formats
from tinv.runs.text_table import align_columns

NAMES = ("learned_embeds.safetensors", "learned_embeds_2.safetensors")
TOLERANCE = 1e-5
"""Relative to the largest value: the rounding of float32 sums in another order."""


@dataclass(frozen=True)
class Row:
    """One quantity of both runs."""

    quantity: str
    reference: str
    tinv: str
    difference: float
    """The largest difference, relative to the largest value of the reference."""
    is_equal: bool

    def cells(self) -> tuple[str, ...]:
        """For a table."""
        verdict = "equal" if self.is_equal else "DIFFERENT"
        return self.quantity, self.reference, self.tinv, f"{self.difference:.1e}", verdict


def compare_values(recording: dict[str, Any], replayed: Replay) -> Iterator[Row]:
    """Every quantity of a run, in the order of its computation."""
    first = recording["batches"][0]
    yield measure("initial vectors", recording["start"], replayed.start)
    for name, title in (
        ("moments", "VAE moments of the first micro-batch"),
        ("noisy", "noisy latents"),
        ("hidden", "text features"),
        ("text_embeds", "pooled text features"),
        ("predicted", "denoiser's output"),
    ):
        if name in first:
            yield measure(title, [first[name]], [replayed.first[name]])
    losses = [part["loss"] for part in recording["batches"]]
    yield measure("first loss", losses[:1], replayed.losses[:1])
    yield measure(f"all {len(losses)} losses", losses, replayed.losses)
    gradients, moved = ([step[name] for step in recording["steps"]] for name in ("gradient", "rows"))
    yield measure("gradient of the first step", gradients[0], replayed.gradients[0])
    yield measure(f"all {len(gradients)} gradients", *(list(chain(*side)) for side in (gradients, replayed.gradients)))
    yield measure(f"vectors after {len(moved)} steps", moved[-1], replayed.vectors[-1])


def measure(quantity: str, theirs: Sequence[Tensor], ours: Sequence[Tensor]) -> Row:
    """Compare lists of tensors, shape by shape and value by value."""
    shapes = [[list(tensor.shape) for tensor in side] for side in (theirs, ours)]
    if shapes[0] != shapes[1]:
        return Row(quantity, str(shapes[0]), str(shapes[1]), float("inf"), False)
    their_values, our_values = (torch.cat([tensor.float().flatten() for tensor in side]) for side in (theirs, ours))
    difference = float((their_values - our_values).abs().max() / their_values.abs().max().clamp(min=1e-30))
    return Row(quantity, _summary(theirs), _summary(ours), difference, difference <= TOLERANCE)


def compare_files(theirs: Path, ours: Path, model: str) -> Iterator[Row]:
    """The embedding files of two folders: their tensors, and how tinv and diffusers load them."""
    names = [name for name in NAMES if (theirs / name).is_file() or (ours / name).is_file()]
    for name in names:
        description = [_describe(folder / name) for folder in (theirs, ours)]
        yield Row(
            name,
            *description,
            0.0 if description[0] == description[1] else float("inf"),
            description[0] == description[1],
        )
    read = [formats.read(folder / names[0]) for folder in (theirs, ours)]
    yield measure("tinv reads both files", *(list(learned.vectors.values()) for learned in read))
    yield measure("diffusers loads both files", *(_loaded(model, folder, names) for folder in (theirs, ours)))


def as_text(compared: Sequence[Row]) -> str:
    """A table."""
    return align_columns([("quantity", "reference", "tinv", "difference", ""), *(row.cells() for row in compared)])


def as_json(compared: Sequence[Row]) -> list[dict[str, Any]]:
    """The same for a file."""
    return [asdict(row) for row in compared]


def _summary(tensors: Sequence[Tensor]) -> str:
    if len(tensors) == 1 and tensors[0].ndim == 0:
        return f"{tensors[0].item():.7f}"
    flat = torch.cat([tensor.float().flatten() for tensor in tensors])
    shapes = " ".join(str(list(tensor.shape)) for tensor in tensors[:2]) + " ..." * (len(tensors) > 2)
    return f"{shapes} norm {flat.norm().item():.6f}"


def _loaded(model: str, folder: Path, names: Sequence[str]) -> list[Tensor]:
    """Text features [1, L, D] of a prompt with the token, with the file loaded by diffusers."""
    pipeline = DiffusionPipeline.from_pretrained(model, unet=None, vae=None, safety_checker=None)
    word = formats.read(folder / names[0]).placeholder_token
    for name, suffix in zip(names, ("", "_2"), strict=False):
        parts = {part: getattr(pipeline, f"{part}{suffix}") for part in ("text_encoder", "tokenizer")}
        pipeline.load_textual_inversion(str(folder / name), **parts)
    with torch.no_grad():
        encoded = pipeline.encode_prompt(
            f"a photo of {word}", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )
    return [tensor for tensor in encoded if tensor is not None]


def _describe(path: Path) -> str:
    if not path.is_file():
        return "no such file"
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        form = (file.metadata() or {}).get("format")
    return ", ".join(f"{name} {list(t.shape)} {t.dtype}" for name, t in tensors.items()) + f", format {form}"
