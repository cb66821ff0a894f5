"""A canvas that draws shapes over one another, as lit plastic, as ink on paper or as pixel art."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tinv.toybox.shapes import Array, Plane

Style = Literal["photo", "drawing", "pixel"]

SIZE = 64
"""Side of a finished image, in pixels."""
SAMPLES = 128
"""Side of the canvas: two samples for each pixel of the image, averaged at the end."""
SPACE = Plane.square(SAMPLES)
"""The whole canvas, from -1 to 1."""


@dataclass(frozen=True)
class Look:
    """How shapes are rendered. Captions mention the style and sometimes ink and paper, but nothing else of it."""

    style: Style
    light: Array
    """Direction to the light, unit length, [3]."""
    paper: Array
    """Paper of a drawing, [3]."""
    ink: Array
    """Ink of a drawing, [3]."""
    fill: float
    """Strength of the colors of a drawing, 0 to 1."""
    levels: int
    """Shades per channel of pixel art."""


@dataclass(frozen=True)
class Pattern:
    """Stripes or dots: a second color and its mask."""

    mask: Array
    """[N, N] in [0, 1]."""
    rgb: Array
    """[3]."""


class Canvas:
    """An image under construction, [N, N, 3] in [0, 1], and the coordinate frame of the next shapes."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self.image = np.ones((SAMPLES, SAMPLES, 3), np.float32)
        self.plane = SPACE
        self.sample = 2 / SAMPLES

    def frame(self, center: tuple[float, float], *, rotation: float, scale: float, mirrored: bool) -> None:
        """Sets the coordinate frame of the following shapes."""
        plane = SPACE.around(center, rotation, scale)
        self.plane = plane.mirrored() if mirrored else plane
        self.sample = 2 / SAMPLES / scale

    def paint(
        self,
        distance: Array,
        rgb: Array,
        *,
        bevel: float = 0.15,
        gloss: float = 0.35,
        pattern: Pattern | None = None,
        flat: bool = False,
        outline: bool = True,
    ) -> None:
        """Draws a shape over the image.

        Args:
            distance: signed distance to the shape, [N, N], in the units of the frame.
            rgb: its color, [3].
            bevel: width of the rounded edge.
            gloss: strength of the highlight, photographs only.
            pattern: a second color over the first.
            flat: no rounding, no shading.
            outline: whether a drawing has an ink line along the edge.
        """
        cover = np.clip(0.5 - distance / np.float32(self.sample), 0, 1)
        if not cover.any():
            return
        rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
        window = (slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2))
        cover, distance = cover[window][..., None], distance[window]
        color = np.broadcast_to(rgb, (*distance.shape, 3))
        if pattern is not None:
            mask = pattern.mask[window][..., None]
            color = color * (1 - mask) + pattern.rgb * mask
        if self.look.style == "drawing":
            color = self._ink(distance, color, bevel=bevel, flat=flat, outline=outline)
        elif not flat:
            color = self._shade(distance, color, bevel=bevel, gloss=gloss)
        self.image[window] = self.image[window] * (1 - cover) + np.clip(color, 0, 1) * cover

    def _shade(self, distance: Array, color: Array, *, bevel: float, gloss: float) -> Array:
        """Shades a shape with a rounded edge like molded plastic."""
        gradient_y, gradient_x = np.gradient(distance)
        length = np.sqrt(gradient_x**2 + gradient_y**2) + np.float32(1e-6)
        slope = 1 - np.clip(-distance / np.float32(bevel), 0, 1)
        normal = np.stack([gradient_x / length * slope, -gradient_y / length * slope, np.sqrt(1 - slope**2)], -1)
        brightness = np.maximum(normal @ self.look.light, 0)
        if self.look.style == "pixel":
            brightness = np.round(brightness * 3) / 3
        color = color * (0.42 + 0.68 * brightness)[..., None]
        if self.look.style == "photo" and gloss:
            half = self.look.light + np.array([0, 0, 1], np.float32)
            half /= np.linalg.norm(half)
            color = color + (np.maximum(normal @ half, 0) ** 24 * np.float32(gloss))[..., None]
        return color

    def _ink(self, distance: Array, color: Array, *, bevel: float, flat: bool, outline: bool) -> Array:
        """Colors a shape with a wash over the paper and draws its edge in ink."""
        look = self.look
        wash = 0.9 if flat else look.fill
        color = look.paper * (1 - np.float32(wash) * (1 - color))
        if not flat:
            depth = np.clip(-distance / np.float32(bevel), 0, 1)[..., None]
            color = color * (0.9 + 0.1 * depth)
        if outline:
            width = 0.02 if flat else 0.05
            line = np.clip((distance + np.float32(width)) / np.float32(self.sample) + 0.5, 0, 1)[..., None] * 0.9
            color = color * (1 - line) + look.ink * line
        return color

    def finish(self) -> np.ndarray:
        """Returns the image, [64, 64, 3] uint8."""
        if self.look.style == "pixel":
            blocks = SIZE // 2
            coarse = self.image.reshape(blocks, 4, blocks, 4, 3).mean((1, 3))
            coarse = np.round(coarse * self.look.levels) / self.look.levels
            image = coarse.repeat(2, 0).repeat(2, 1)
        else:
            image = self.image.reshape(SIZE, 2, SIZE, 2, 3).mean((1, 3))
        return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
