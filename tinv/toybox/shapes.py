"""Signed distances to simple shapes: negative inside, zero on the edge, positive outside.

Shapes are drawn on a plane of N x N sample points, x to the right and y up; every function returns [N, N] float32.
The formulas are Inigo Quilez's well-known ones (iquilezles.org/articles/distfunctions2d, MIT).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Point = tuple[float, float]


@dataclass(frozen=True)
class Plane:
    """The coordinates of every sample point."""

    x: Array
    """[N, N], growing to the right."""
    y: Array
    """[N, N], growing upwards."""

    @classmethod
    def square(cls, size: int) -> "Plane":
        """Returns the sample points of the square from -1 to 1, `size` along each side."""
        ticks = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
        x, y = np.meshgrid(ticks, -ticks)
        return cls(x.astype(np.float32), y.astype(np.float32))

    def around(self, center: Point, rotation: float = 0.0, scale: float = 1.0) -> "Plane":
        """Returns the points in a frame at `center`, rotated by `rotation` radians and `scale` times as large."""
        x, y = self.x - np.float32(center[0]), self.y - np.float32(center[1])
        if rotation:
            c, s = np.float32(np.cos(rotation)), np.float32(np.sin(rotation))
            x, y = x * c + y * s, y * c - x * s
        return Plane(x / np.float32(scale), y / np.float32(scale))

    def mirrored(self) -> "Plane":
        """Returns the points with left and right exchanged."""
        return Plane(-self.x, self.y)


def ellipse(plane: Plane, center: Point, radii: Point, rotation: float = 0.0) -> Array:
    """Distance to an ellipse; exact for circles, close near the edge otherwise."""
    p = plane.around(center, rotation)
    rx, ry = np.float32(radii[0]), np.float32(radii[1])
    return (np.sqrt((p.x / rx) ** 2 + (p.y / ry) ** 2) - 1) * min(rx, ry)


def circle(plane: Plane, center: Point, radius: float) -> Array:
    """Distance to a circle."""
    return ellipse(plane, center, (radius, radius))


def ring(plane: Plane, center: Point, radii: Point, width: float) -> Array:
    """Distance to the outline of an ellipse drawn `2 * width` thick."""
    return np.abs(ellipse(plane, center, radii)) - np.float32(width)


def box(plane: Plane, center: Point, half: Point, corner: float = 0.0, rotation: float = 0.0) -> Array:
    """Distance to a rectangle of half sides `half` with corners rounded by `corner`."""
    p = plane.around(center, rotation)
    x = np.abs(p.x) - np.float32(half[0] - corner)
    y = np.abs(p.y) - np.float32(half[1] - corner)
    outside = np.sqrt(np.maximum(x, 0) ** 2 + np.maximum(y, 0) ** 2)
    return outside + np.minimum(np.maximum(x, y), 0) - np.float32(corner)


def capsule(plane: Plane, start: Point, end: Point, radius: float, end_radius: float | None = None) -> Array:
    """Distance to a thick line with round ends, which may taper from `radius` to `end_radius`."""
    p = plane.around(start)
    dx, dy = np.float32(end[0] - start[0]), np.float32(end[1] - start[1])
    along = np.clip((p.x * dx + p.y * dy) / (dx * dx + dy * dy + np.float32(1e-9)), 0, 1)
    taper = 0.0 if end_radius is None else end_radius - radius
    thickness = np.float32(radius) + np.float32(taper) * along
    return np.sqrt((p.x - dx * along) ** 2 + (p.y - dy * along) ** 2) - thickness


def path(plane: Plane, points: Sequence[Point], radius: float) -> Array:
    """Distance to a thick line through `points`."""
    pieces = [capsule(plane, a, b, radius) for a, b in pairwise(points)]
    return np.minimum.reduce(pieces)


def polygon(plane: Plane, points: Sequence[Point], corner: float = 0.0) -> Array:
    """Distance to a polygon, grown by `corner` so that its corners are round."""
    squared = np.full_like(plane.x, 1e9)
    sign = np.ones_like(plane.x)
    for (ax, ay), (bx, by) in zip(points, [points[-1], *points[:-1]], strict=True):
        ex, ey = np.float32(bx - ax), np.float32(by - ay)
        wx, wy = plane.x - np.float32(ax), plane.y - np.float32(ay)
        along = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
        squared = np.minimum(squared, (wx - ex * along) ** 2 + (wy - ey * along) ** 2)
        above, below, left = plane.y >= np.float32(ay), plane.y < np.float32(by), ex * wy > ey * wx
        crossed = (above & below & left) | ~(above | below | left)
        sign = np.where(crossed, -sign, sign)
    return sign * np.sqrt(squared) - np.float32(corner)


def star(plane: Plane, center: Point, outer: float, inner: float, corner: float = 0.0) -> Array:
    """Distance to a five-pointed star with one point up."""
    radii = [outer, inner] * 5
    angles = [np.pi / 2 + i * np.pi / 5 for i in range(10)]
    points = [
        (center[0] + r * float(np.cos(a)), center[1] + r * float(np.sin(a))) for r, a in zip(radii, angles, strict=True)
    ]
    return polygon(plane, points, corner)
