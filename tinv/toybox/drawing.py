"""Draws each kind of toy: about a dozen shapes over one another, in a frame from -1 to 1."""

from collections.abc import Callable

import numpy as np

from tinv.toybox.canvas import Canvas, Pattern
from tinv.toybox.palette import rgb
from tinv.toybox.shapes import Array, box, capsule, circle, ellipse, path, polygon, ring, star
from tinv.toybox.toys import Toy

DARK = np.array([0.08, 0.07, 0.09], np.float32)
WHITE = np.array([0.98, 0.98, 0.97], np.float32)
GRAY = np.array([0.78, 0.79, 0.82], np.float32)
RUBBER = np.array([0.13, 0.12, 0.14], np.float32)
GLASS = np.array([0.72, 0.88, 0.96], np.float32)
WOOD = np.array([0.42, 0.26, 0.14], np.float32)
LAMP = np.array([1.0, 0.93, 0.6], np.float32)
SIDES = (-1, 1)


def lerp(low: float, high: float, share: float) -> float:
    """Returns low + share (high - low)."""
    return low + (high - low) * share


def lighten(color: Array, white: float) -> Array:
    """Returns a color mixed with white."""
    return color * np.float32(1 - white) + np.float32(white)


def make_pattern(canvas: Canvas, toy: Toy) -> Pattern | None:
    """Returns the stripes or dots of a toy, in the frame of the canvas."""
    plane, build = canvas.plane, toy.build
    angle = np.pi * build.slant
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    across, along = plane.x * c + plane.y * s, plane.y * c - plane.x * s
    if toy.pattern == "stripes":
        frequency = np.float32(lerp(11, 19, build.frequency))
        edge: Array = np.sin(across * frequency) / (frequency * np.float32(canvas.sample))
    elif toy.pattern == "dots":
        frequency = np.float32(lerp(2.2, 3.6, build.frequency))
        u, v = across * frequency, along * frequency
        radius = np.sqrt((u - np.round(u)) ** 2 + (v - np.round(v)) ** 2)
        edge = (np.float32(0.3) - radius) / (frequency * np.float32(canvas.sample))
    else:
        return None
    return Pattern(np.clip(edge + np.float32(0.5), 0, 1), toy.accent.rgb)


def draw_animal(canvas: Canvas, toy: Toy) -> None:
    """A sitting cat or dog: tail, feet, body, arms, ears and head, scarf, face."""
    build, plane, paint = toy.build, canvas.plane, canvas.paint
    main, second, pattern = toy.color.rgb, toy.extremities, make_pattern(canvas, toy)
    girth, head = lerp(0.38, 0.56, build.girth), lerp(0.37, 0.46, build.head)
    breadth, head_y = head * lerp(1.0, 1.28, build.breadth), 0.28
    bend, reach = lerp(0.5, 2.4, build.curl), lerp(0.5, 1.1, build.tail)
    steps = np.linspace(0, 1, 7)
    tail_x = girth * 0.6 + 0.42 * np.sin(steps * bend) + 0.12 * steps
    tail_y = -0.72 + 0.85 * reach * steps
    paint(path(plane, list(zip(tail_x, tail_y, strict=True)), 0.085), second, bevel=0.09)
    for side in SIDES:
        paint(ellipse(plane, (side * girth * 0.62, -0.88), (0.21, 0.13)), second, bevel=0.13)
    paint(ellipse(plane, (0, -0.48), (girth, 0.45)), main, bevel=0.35, pattern=pattern)
    if toy.belly is not None:
        paint(ellipse(plane, (0, -0.52), (girth * 0.6, 0.31)), toy.belly.rgb, bevel=0.4, gloss=0.1, outline=False)
    for side in SIDES:
        arm = capsule(plane, (side * girth * 0.8, -0.3), (side * girth * 0.55, -0.62), 0.11, 0.1)
        paint(arm, second, bevel=0.12)
    if toy.kind == "cat":
        _cat_ears(canvas, toy, breadth, head, head_y)
        paint(ellipse(plane, (0, head_y), (breadth, head)), main, bevel=0.36, pattern=pattern)
    else:
        paint(ellipse(plane, (0, head_y), (breadth, head)), main, bevel=0.36, pattern=pattern)
        _dog_ears(canvas, toy, breadth, head_y)
    if toy.scarf is not None:
        paint(box(plane, (0, -0.12), (girth * 0.88, 0.095), 0.09), toy.scarf.rgb, bevel=0.09, gloss=0.15)
        knot = box(plane, (-girth * 0.4, -0.31), (0.085, 0.18), 0.05, rotation=0.2)
        paint(knot, toy.scarf.rgb, bevel=0.09, gloss=0.15)
    _face(canvas, toy, breadth, head_y)


def _cat_ears(canvas: Canvas, toy: Toy, breadth: float, head: float, head_y: float) -> None:
    """Two pointed ears with a lighter inside."""
    build = toy.build
    height, width, tilt = lerp(0.1, 0.46, build.ears), lerp(0.15, 0.27, build.ear_width), build.ear_tilt * 0.2
    foot = head_y + head * 0.55
    for side in SIDES:
        tip = (side * (breadth * 0.62 + tilt), head_y + head * 0.7 + height)
        inner_tip = (tip[0], head_y + head * 0.7 + height * 0.72)
        root = side * breadth * 0.55
        outer = polygon(canvas.plane, [(root - width, foot), tip, (root + width, foot)], 0.04)
        inner = polygon(canvas.plane, [(root - width * 0.5, foot), inner_tip, (root + width * 0.5, foot)], 0.02)
        canvas.paint(outer, toy.extremities, bevel=0.12)
        canvas.paint(inner, lighten(toy.trim.rgb, 0.45), bevel=0.1, gloss=0, outline=False)


def _dog_ears(canvas: Canvas, toy: Toy, breadth: float, head_y: float) -> None:
    """Two hanging ears."""
    build = toy.build
    length, width = lerp(0.22, 0.38, build.ears), lerp(0.11, 0.19, build.ear_width)
    for side in SIDES:
        center = (side * breadth * 0.96, head_y + 0.12 - length * 0.5)
        ear = ellipse(canvas.plane, center, (width, length), rotation=side * lerp(0.05, 0.5, build.ear_tilt))
        canvas.paint(ear, toy.extremities, bevel=0.13)


def _face(canvas: Canvas, toy: Toy, breadth: float, head_y: float) -> None:
    """Eyes, muzzle and nose; whiskers for a cat, perhaps a tongue for a dog."""
    plane, paint, build = canvas.plane, canvas.paint, toy.build
    eye, muzzle = lerp(0.085, 0.145, build.eye_size), lighten(toy.color.rgb, 0.6)
    for side in SIDES:
        x = side * breadth * 0.42
        ball = WHITE if toy.kind == "dog" else toy.eye_color.rgb
        paint(ellipse(plane, (x, head_y + 0.06), (eye * 1.05, eye * 1.2)), ball, bevel=0.05, gloss=0, flat=True)
        paint(ellipse(plane, (x, head_y + 0.05), (eye * 0.55, eye * 0.95)), DARK, flat=True)
        paint(circle(plane, (x - 0.03, head_y + 0.1), eye * 0.27), WHITE, flat=True, outline=False)
    if toy.kind == "cat":
        paint(ellipse(plane, (0, head_y - 0.14), (0.15, 0.09)), muzzle, bevel=0.1, gloss=0, outline=False)
        nose = polygon(plane, [(-0.07, head_y - 0.07), (0.07, head_y - 0.07), (0, head_y - 0.15)], 0.015)
        paint(nose, rgb(0.96, 0.5, 0.65), bevel=0.05)
        for side in SIDES:
            for rise in (-0.05, 0.08):
                whisker = capsule(plane, (side * 0.18, head_y - 0.14), (side * 0.44, head_y - 0.14 + rise), 0.012)
                paint(whisker, DARK, flat=True, outline=False)
        return
    paint(ellipse(plane, (0, head_y - 0.16), (0.2, 0.14)), muzzle, bevel=0.14, gloss=0.1)
    paint(ellipse(plane, (0, head_y - 0.08), (0.095, 0.065)), DARK, bevel=0.06, gloss=0.8)
    if build.variant < 0.5:
        paint(box(plane, (0, head_y - 0.3), (0.06, 0.085), 0.05), rgb(0.97, 0.6, 0.9), bevel=0.06)


def draw_robot(canvas: Canvas, toy: Toy) -> None:
    """A box with a head, a lamp on an antenna, arms, legs and a screen."""
    build, plane, paint = toy.build, canvas.plane, canvas.paint
    main = toy.color.rgb
    second = toy.accent.rgb if toy.pattern == "two" else main * np.float32(0.8)
    girth, head = lerp(0.38, 0.54, build.girth), lerp(0.32, 0.44, build.head)
    antenna, head_y = lerp(0.05, 0.3, build.ears), 0.34
    for side in SIDES:
        paint(box(plane, (side * girth * 0.5, -0.8), (0.15, 0.2), 0.05), second, bevel=0.08)
        paint(capsule(plane, (side * (girth + 0.1), -0.08), (side * (girth + 0.16), -0.45), 0.095), second, bevel=0.09)
        paint(circle(plane, (side * (girth + 0.17), -0.5), 0.13), main, bevel=0.1)
    paint(box(plane, (0, -0.3), (girth, 0.38), 0.08), main, bevel=0.12, pattern=make_pattern(canvas, toy))
    if toy.belly is not None:
        paint(box(plane, (0, -0.28), (girth * 0.62, 0.21), 0.04), toy.belly.rgb, bevel=0.05)
    paint(capsule(plane, (0, head_y + 0.2), (0, head_y + 0.34 + antenna), 0.035), RUBBER * 2, bevel=0.03)
    lamp = toy.scarf if toy.scarf is not None else toy.eye_color
    paint(circle(plane, (0, head_y + 0.36 + antenna), 0.1), lamp.rgb, bevel=0.09, gloss=0.7)
    breadth = head * lerp(1.0, 1.35, build.breadth)
    paint(box(plane, (0, head_y), (breadth, head * 0.75), 0.08), main, bevel=0.12)
    eye = lerp(0.1, 0.17, build.eye_size)
    for side in SIDES:
        center = (side * breadth * 0.45, head_y + 0.06)
        paint(circle(plane, center, eye), toy.eye_color.rgb, bevel=0.06, gloss=0.6)
        paint(circle(plane, center, eye * 0.42), DARK, flat=True, outline=False)
    paint(box(plane, (0, head_y - 0.16), (breadth * 0.5, 0.04), 0.03), DARK, flat=True, outline=False)


def draw_car(canvas: Canvas, toy: Toy) -> None:
    """A car from the side: cabin, windows, body, lamp, wheels."""
    build, plane, paint = toy.build, canvas.plane, canvas.paint
    slope, height = lerp(-0.1, 0.1, build.ear_tilt), lerp(0.32, 0.56, build.ears)
    cabin = [(-0.62, 0.0), (-0.42 - slope, height), (0.26 + slope, height), (0.6, 0.0)]
    paint(polygon(plane, cabin, 0.06), toy.extremities, bevel=0.2)
    top = height - 0.07
    rear = [(-0.46, 0.06), (-0.34 - slope, top), (-0.12, top), (-0.12, 0.06)]
    front = [(0.02, 0.06), (0.02, top), (0.19 + slope, top), (0.42, 0.06)]
    for window in (rear, front):
        paint(polygon(plane, window, 0.015), GLASS, bevel=0.3, gloss=0.2)
    body = box(plane, (0, -0.17), (0.98, lerp(0.24, 0.32, build.girth)), 0.16)
    paint(body, toy.color.rgb, bevel=0.2, pattern=make_pattern(canvas, toy))
    paint(circle(plane, (0.9, -0.1), 0.08), LAMP, bevel=0.05)
    wheel = lerp(0.22, 0.31, build.head)
    for side in SIDES:
        center = (side * 0.54, -0.4)
        paint(circle(plane, center, wheel), RUBBER, bevel=0.1)
        paint(circle(plane, center, wheel * 0.5), lighten(toy.trim.rgb, 0.5), bevel=0.08)


def draw_mug(canvas: Canvas, toy: Toy) -> None:
    """A mug from slightly above: handle, body, rim, drink."""
    build, plane, paint = toy.build, canvas.plane, canvas.paint
    width, height = lerp(0.46, 0.66, build.girth), lerp(0.56, 0.8, build.ears)
    left, rim = -0.14, height - 0.2
    handle = ring(plane, (left + width + 0.08, -0.14), (lerp(0.22, 0.34, build.head), 0.34), 0.085)
    paint(handle, toy.extremities, bevel=0.09)
    body = box(plane, (left, -0.16), (width, height), 0.2)
    paint(body, toy.color.rgb, bevel=0.2, pattern=make_pattern(canvas, toy))
    paint(ellipse(plane, (left, rim), (width, 0.16)), lighten(toy.color.rgb, 0.5), bevel=0.05)
    drink = np.array([0.3, 0.16, 0.08], np.float32) if build.variant < 0.5 else lighten(toy.trim.rgb, 0.3)
    paint(ellipse(plane, (left, rim - 0.01), (width * 0.84, 0.11)), drink, bevel=0.5, gloss=0)


def draw_teapot(canvas: Canvas, toy: Toy) -> None:
    """A teapot: handle, spout, foot, belly, lid and knob."""
    build, plane, paint = toy.build, canvas.plane, canvas.paint
    second = toy.extremities
    width, height = lerp(0.48, 0.6, build.girth), lerp(0.4, 0.56, build.ears)
    paint(ring(plane, (-width - 0.04, -0.1), (0.27, 0.32), 0.075), second, bevel=0.08)
    tip = (width + 0.38, lerp(0.08, 0.4, build.ear_tilt))
    paint(capsule(plane, (width - 0.12, -0.3), tip, 0.17, 0.075), second, bevel=0.12)
    paint(box(plane, (0, -0.18 - height), (width * 0.62, 0.09), 0.04), second, bevel=0.06)
    body = ellipse(plane, (0, -0.18), (width, height))
    paint(body, toy.color.rgb, bevel=0.42, pattern=make_pattern(canvas, toy), gloss=0.6)
    paint(ellipse(plane, (0, height - 0.22), (width * 0.58, 0.13)), second, bevel=0.12)
    paint(circle(plane, (0, height - 0.04), lerp(0.09, 0.14, build.head)), second, bevel=0.1, gloss=0.6)


def draw_house(canvas: Canvas, toy: Toy) -> None:
    """A house: chimney, walls, roof, door and two lit windows."""
    build, plane, paint = toy.build, canvas.plane, canvas.paint
    roof = toy.accent.rgb if toy.pattern == "two" else lighten(toy.trim.rgb, 0.15)
    width = lerp(0.55, 0.74, build.girth)
    eaves, top = lerp(-0.1, 0.12, build.head), lerp(0.55, 0.9, build.ears)
    paint(box(plane, (width * 0.55, (eaves + top) / 2), (0.1, 0.3), 0.02), WOOD * 1.3, bevel=0.06)
    walls = box(plane, (0, (eaves - 0.92) / 2), (width, (eaves + 0.92) / 2 + 0.06), 0.02)
    paint(walls, toy.color.rgb, bevel=0.07, pattern=make_pattern(canvas, toy), gloss=0)
    paint(polygon(plane, [(-width - 0.16, eaves), (0, top), (width + 0.16, eaves)], 0.04), roof, bevel=0.1, gloss=0.1)
    paint(box(plane, (0, -0.68), (0.15, 0.27), 0.03), WOOD, bevel=0.05)
    for side in SIDES:
        window = box(plane, (side * width * 0.62, -0.36), (0.13, 0.14), 0.02)
        paint(window, LAMP if build.variant < 0.6 else GLASS, bevel=0.04, gloss=0)


def draw_star(canvas: Canvas, toy: Toy) -> None:
    """A five-pointed star with a face."""
    build, plane, paint = toy.build, canvas.plane, canvas.paint
    pattern = make_pattern(canvas, toy)
    if toy.pattern == "two":
        half = np.clip(plane.x / np.float32(canvas.sample) + np.float32(0.5), 0, 1)
        pattern = Pattern(half, toy.accent.rgb)
    shape = star(plane, (0, -0.08), 0.95, lerp(0.4, 0.56, build.girth), 0.07)
    paint(shape, toy.color.rgb, bevel=0.34, pattern=pattern, gloss=0.5)
    if build.variant < 0.6:
        eye = lerp(0.05, 0.08, build.eye_size)
        for side in SIDES:
            paint(ellipse(plane, (side * 0.17, 0.02), (eye, eye * 1.5)), DARK, flat=True, outline=False)


DRAW_FUNCTIONS: dict[str, Callable[[Canvas, Toy], None]] = {
    "cat": draw_animal,
    "dog": draw_animal,
    "robot": draw_robot,
    "car": draw_car,
    "mug": draw_mug,
    "teapot": draw_teapot,
    "house": draw_house,
    "star": draw_star,
}
"""The function that draws each kind."""

FLOOR_HEIGHTS = {
    "cat": -0.98,
    "dog": -0.98,
    "robot": -0.98,
    "car": -0.68,
    "mug": -0.9,
    "teapot": -0.78,
    "house": -0.95,
    "star": -0.86,
}
"""The lowest point of each kind, in its own frame."""
