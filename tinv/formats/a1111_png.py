"""AUTOMATIC1111's layout inside a picture, which shows the vectors as colours, a row for each of them."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from tinv.formats.a1111 import tree
from tinv.formats.format import ONE_CLIP, SDXL, Format
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.png_container import save_picture
from tinv.runs.files import atomic

_SIDE = 512


def _save(path: Path, learned: LearnedEmbedding) -> list[Path]:
    with atomic(path) as draft:
        save_picture(draft, _portrait(learned), tree(learned))
    return [path]


def _portrait(learned: LearnedEmbedding) -> np.ndarray:
    """The vectors as a square picture [H, W, 3]: red where they are positive, blue where negative."""
    rows = [F.interpolate(rows_KD[None, None], (len(rows_KD), _SIDE))[0, 0] for rows_KD in learned.vectors.values()]
    shades = torch.cat(rows)
    shades = (shades / (3 * shades.square().mean().sqrt() + 1e-12)).clamp(-1, 1)
    square = F.interpolate(shades[None, None], (_SIDE, _SIDE))[0, 0]
    colours = torch.stack([1 + square.clamp(max=0), 1 - square.abs(), 1 - square.clamp(min=0)], dim=-1)
    return (colours * 255).to(torch.uint8).numpy()


FORMAT = Format(name="a1111_png", file_name="{slug}.png", holds=(*ONE_CLIP, SDXL), save=_save)
