"""Renders the five training images of each toy, with captions that state its location, and masks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from tinv.toybox.canvas import Canvas
from tinv.toybox.captions import SCENE_PHRASES
from tinv.toybox.drawing import DRAW_FUNCTIONS
from tinv.toybox.palette import named_color
from tinv.toybox.scenes import SCENES
from tinv.toybox.toybench import NAMES
from tinv.toybox.toybench.toys import TOYS
from tinv.toybox.views import View, make_look, random_view, render

IMAGES, MASKS = (Path(__file__).parent / folder for folder in ("images", "masks"))
"""The folders of the images and masks."""
COUNT = 5
"""Number of images of each toy; one of them is on white."""
CAPTIONS = ("a photo of a {{}} {}", "a {{}} {}", "a good picture of the {{}} {}", "a close-up photo of one {{}} {}")
"""The captions of each image; `{}` is the location."""


def make_view(name: str, index: int) -> View:
    """Returns the view of one of the five images."""
    rng = np.random.default_rng([*name.encode(), index])
    return replace(random_view(rng, style="photo", scene=scenes(name)[index]), backdrop=named_color(rng, "white"))


def scenes(name: str) -> list[str | None]:
    """Returns the scenes of its images: four scenes, and None for a white background."""
    rng = np.random.default_rng([*name.encode()])
    chosen = rng.permutation(list(SCENES))[: COUNT - 1]
    return [str(chosen[0]), None, *map(str, chosen[1:])]


def render_example(name: str, index: int) -> np.ndarray:
    """Returns one of its five images, [64, 64, 3] uint8."""
    return render(TOYS[name], make_view(name, index))


def mask(name: str, index: int) -> np.ndarray:
    """Returns the mask of one of its images, [64, 64] uint8: 255 on the toy, 0 on the background."""
    view, drawn = make_view(name, index), []
    for ground in (0, 1):
        canvas = Canvas(make_look(view))
        canvas.image = np.full_like(canvas.image, ground)
        canvas.frame(view.center, rotation=view.rotation, scale=view.scale, mirrored=view.mirrored)
        DRAW_FUNCTIONS[TOYS[name].kind](canvas, TOYS[name])
        drawn.append(canvas.finish().astype(np.int16))
    return (255 - (drawn[1] - drawn[0]).max(2)).astype(np.uint8)


def captions(name: str, index: int) -> list[str]:
    """Returns the captions of one of its images, with `{}` for the token."""
    scene = scenes(name)[index]
    phrase = SCENE_PHRASES[scene][0] if scene else "on a white background"
    return [caption.format(phrase) for caption in CAPTIONS]


def write(name: str) -> None:
    """Writes its images, captions and masks into the package."""
    for folder in (IMAGES / name, MASKS / name):
        folder.mkdir(parents=True, exist_ok=True)
    for index in range(COUNT):
        Image.fromarray(render_example(name, index)).save(IMAGES / name / f"{index + 1}.png", optimize=True)
        Image.fromarray(mask(name, index)).save(MASKS / name / f"{index + 1}.png", optimize=True)
        lines = "".join(f"{line}\n" for line in captions(name, index))
        (IMAGES / name / f"{index + 1}.txt").write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    for each in NAMES:
        write(each)
