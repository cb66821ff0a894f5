"""The PNG embeddings of AUTOMATIC1111's web UI: its `.pt` layout inside an image that shows the vectors as colors."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from tinv.formats.a1111 import build_tree
from tinv.formats.format import ONE_CLIP, SDXL, Format
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.png_container import save_image

_SIDE = 512


def _save(path: Path, embedding: LearnedEmbedding) -> list[Path]:
    return [save_image(path, _render(embedding), build_tree(embedding))]


def _render(embedding: LearnedEmbedding) -> np.ndarray:
    """Returns the vectors as a square image [H, W, 3], a band for each: red for positive values, blue for negative."""
    bands = [F.interpolate(v_KD[None, None], (len(v_KD), _SIDE))[0, 0] for v_KD in embedding.vectors.values()]
    shades = torch.cat(bands)
    shades = (shades / (3 * shades.square().mean().sqrt() + 1e-12)).clamp(-1, 1)
    square = F.interpolate(shades[None, None], (_SIDE, _SIDE))[0, 0]
    colors = torch.stack([1 + square.clamp(max=0), 1 - square.abs(), 1 - square.clamp(min=0)], dim=-1)
    return (colors * 255).to(torch.uint8).numpy()


FORMAT = Format(name="a1111_png", file_name="{slug}.png", encoder_sets=(*ONE_CLIP, SDXL), save=_save)
