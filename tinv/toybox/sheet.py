"""Arranges images on one sheet."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

GAP = 2
"""Pixels between images."""


def make_sheet(images: Sequence[np.ndarray], *, columns: int, enlarge: int = 2) -> Image.Image:
    """Returns images [H, W, 3] uint8 in rows of `columns`, enlarged without smoothing."""
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    paper = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = row * (height + GAP), column * (width + GAP)
        paper[top : top + height, left : left + width] = image
    grid = Image.fromarray(paper)
    return grid.resize((grid.width * enlarge, grid.height * enlarge), Image.Resampling.NEAREST)
