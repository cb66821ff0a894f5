"""Pictures that ship, against what a renderer makes of the same toy on whatever processor this is."""

from pathlib import Path

import numpy as np
from PIL import Image


def is_as_rendered(file: Path, rendered: np.ndarray) -> bool:
    """Whether they are the same, but for a few channels that some processors round to the next level."""
    shipped = np.asarray(Image.open(file)).astype(int)
    if shipped.shape != rendered.shape:
        return False
    off = np.abs(shipped - rendered)
    return off.max() <= 1 and off.astype(bool).mean() < 1e-3
