"""Backgrounds: six scenes, or a plain backdrop of any color."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from tinv.toybox.canvas import SAMPLES, SPACE
from tinv.toybox.shapes import Array, circle

X, Y = SPACE.x, SPACE.y


def jitter(rng: np.random.Generator, rgb: tuple[float, float, float], amount: float = 0.04) -> Array:
    """Returns a slightly random color, [3]."""
    return np.clip(np.array(rgb, np.float32) + rng.uniform(-amount, amount, 3).astype(np.float32), 0, 1)


def gradient(start: Array, end: Array, share: Array) -> Array:
    """Returns colors from `start` to `end`, [N, N, 3]."""
    share = np.clip(share, 0, 1)[..., None]
    return start * (1 - share) + end * share


def smooth_noise(rng: np.random.Generator, cells: int) -> Array:
    """Returns noise in [0, 1] with about `cells` bumps along each side, [N, N]."""
    grains = Image.fromarray(rng.random((cells, cells)).astype(np.float32))
    return np.asarray(grains.resize((SAMPLES, SAMPLES), Image.Resampling.BICUBIC))


def blend(image: Array, cover: Array, rgb: Array) -> Array:
    """Returns an image blended with a color by the weights `cover` [N, N]."""
    cover = np.clip(cover, 0, 1)[..., None]
    return image * (1 - cover) + rgb * cover


def beach(rng: np.random.Generator, horizon: float) -> Array:
    """Sky, sea, foam and sand."""
    image = gradient(jitter(rng, (0.75, 0.9, 0.98)), jitter(rng, (0.35, 0.65, 0.95)), (Y - horizon) / (1 - horizon))
    image = blend(image, (horizon > Y).astype(np.float32), jitter(rng, (0.1, 0.5, 0.7)))
    shore = horizon - 0.2 + 0.03 * np.sin(X * rng.uniform(3, 6) + rng.uniform(0, 6))
    sand = jitter(rng, (0.93, 0.82, 0.58)) * (0.94 + 0.1 * smooth_noise(rng, 40))[..., None]
    image = blend(image, (shore - Y) / 0.03, sand)
    return blend(image, np.exp(-(((Y - shore) / 0.03) ** 2)) * 0.8, np.ones(3, np.float32))


def grass(rng: np.random.Generator, horizon: float) -> Array:
    """A meadow under a blue sky."""
    image = gradient(jitter(rng, (0.85, 0.94, 1.0)), jitter(rng, (0.45, 0.72, 0.98)), (Y - horizon) / (1 - horizon))
    meadow = gradient(jitter(rng, (0.45, 0.75, 0.28)), jitter(rng, (0.2, 0.5, 0.12)), horizon - Y)
    meadow = meadow * (0.82 + 0.36 * smooth_noise(rng, 44))[..., None]
    return blend(image, (horizon + 0.03 * np.sin(X * 3 + rng.uniform(0, 6)) - Y) / 0.03, meadow)


def night(rng: np.random.Generator, horizon: float) -> Array:
    """Stars and a moon over dark ground."""
    image = gradient(jitter(rng, (0.17, 0.14, 0.4)), jitter(rng, (0.03, 0.03, 0.15)), Y - horizon + 0.3)
    for _ in range(rng.integers(10, 18)):
        x, y, size = rng.uniform(-1, 1), rng.uniform(horizon, 1), rng.uniform(0.0002, 0.0006)
        image = image + (np.exp(-((X - x) ** 2 + (Y - y) ** 2) / size) * 0.9)[..., None]
    moon = circle(SPACE, (rng.uniform(-0.8, 0.8), rng.uniform(0.62, 0.8)), 0.15)
    image = blend(image, 0.5 - moon / 0.016, np.array([1.0, 0.96, 0.8], np.float32))
    return blend(image, (horizon - Y) / 0.02, jitter(rng, (0.12, 0.14, 0.19), 0.02))


def table(rng: np.random.Generator, horizon: float) -> Array:
    """A wooden table before a light wall."""
    image = gradient(jitter(rng, (0.88, 0.84, 0.76)), jitter(rng, (0.78, 0.74, 0.68)), Y)
    grain = 0.5 + 0.5 * np.sin(Y * 26 + smooth_noise(rng, 6) * 6)
    wood = jitter(rng, (0.64, 0.42, 0.24)) * (0.84 + 0.22 * grain)[..., None]
    return blend(image, (horizon - Y) / 0.02, wood)


def snow(rng: np.random.Generator, horizon: float) -> Array:
    """Snow on the ground and in the air."""
    image = gradient(jitter(rng, (0.82, 0.87, 0.94)), jitter(rng, (0.6, 0.71, 0.86)), Y - horizon)
    hills = horizon + 0.06 * np.sin(X * 2.5 + rng.uniform(0, 6))
    image = blend(image, (hills - Y) / 0.03, jitter(rng, (0.95, 0.97, 1.0), 0.02))
    for _ in range(rng.integers(14, 24)):
        x, y = rng.uniform(-1, 1, 2)
        image = blend(image, np.exp(-((X - x) ** 2 + (Y - y) ** 2) / 0.001), np.ones(3, np.float32))
    return image


def brick(rng: np.random.Generator, horizon: float) -> Array:
    """A brick wall above a pavement."""
    height, length = 0.25, 0.5
    row = np.floor(Y / height + 10)
    shifted = X / length + (row % 2) * 0.5 + rng.uniform(0, 1)
    across, up = np.abs(shifted % 1 - 0.5), np.abs((Y / height) % 1 - 0.5)
    tone = (np.sin(np.floor(shifted) * 12.9 + row * 78.2) * 43758.5) % 1
    image = jitter(rng, (0.64, 0.29, 0.2)) * (0.88 + 0.22 * tone)[..., None]
    mortar = ((across > 0.455) | (up > 0.41)).astype(np.float32)
    image = blend(image, mortar, jitter(rng, (0.76, 0.71, 0.67)))
    return blend(image, ((horizon - 0.5) - Y) / 0.02, jitter(rng, (0.52, 0.52, 0.53)))


SCENES: dict[str, Callable[[np.random.Generator, float], Array]] = {
    "beach": beach,
    "grass": grass,
    "night": night,
    "table": table,
    "snow": snow,
    "brick": brick,
}
"""The scenes by name; each returns a background [N, N, 3]."""


def backdrop(rgb: Array) -> Array:
    """Returns a paper backdrop, lighter at the top, [N, N, 3]."""
    vignette = 1 - 0.12 * ((X - 0.1) ** 2 + (Y - 0.2) ** 2)
    ground = 1 - 0.13 * np.clip((-0.35 - Y) * 2, 0, 1)
    return np.clip(rgb * np.float32(0.97) * (vignette * ground)[..., None], 0, 1).astype(np.float32)


def scene(name: str, seed: int) -> Array:
    """Returns the background of a scene [N, N, 3] in [0, 1], a function of its name and a seed."""
    rng = np.random.default_rng(seed)
    image = SCENES[name](rng, float(rng.uniform(-0.2, 0.2)))
    return np.clip(image, 0, 1).astype(np.float32)
