"""The five pictures of each of the twelve, with captions that say where it is, and its masks."""

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
"""Where they are: a folder each."""
COUNT = 5
"""Pictures of each; one of them is on white."""
CAPTIONS = ("a photo of a {{}} {}", "a {{}} {}", "a good picture of the {{}} {}", "a close-up photo of one {{}} {}")
"""What is said of each picture; the gap is for the place."""


def make_view(name: str, index: int) -> View:
    """How one of its five pictures is taken."""
    rng = np.random.default_rng([*name.encode(), index])
    return replace(random_view(rng, style="photo", scene=scenes(name)[index]), backdrop=named_color(rng, "white"))


def scenes(name: str) -> list[str | None]:
    """Where its pictures are taken: in four of the world's scenes, and before white."""
    rng = np.random.default_rng([*name.encode()])
    chosen = rng.permutation(list(SCENES))[: COUNT - 1]
    return [str(chosen[0]), None, *map(str, chosen[1:])]


def render_example(name: str, index: int) -> np.ndarray:
    """One of its five pictures, [64, 64, 3] uint8."""
    return render(TOYS[name], make_view(name, index))


def mask(name: str, index: int) -> np.ndarray:
    """Where the toy is in one of its pictures, [64, 64] uint8: 255 inside, 0 outside, between on the edge."""
    view, drawn = make_view(name, index), []
    for ground in (0, 1):
        canvas = Canvas(make_look(view))
        canvas.image = np.full_like(canvas.image, ground)
        canvas.frame(view.center, rotation=view.rotation, scale=view.scale, mirrored=view.mirrored)
        DRAW_FUNCTIONS[TOYS[name].kind](canvas, TOYS[name])
        drawn.append(canvas.finish().astype(np.int16))
    return (255 - (drawn[1] - drawn[0]).max(2)).astype(np.uint8)


def captions(name: str, index: int) -> list[str]:
    """What is said of one of its pictures, with `{}` for the word."""
    scene = scenes(name)[index]
    phrase = SCENE_PHRASES[scene][0] if scene else "on a white background"
    return [caption.format(phrase) for caption in CAPTIONS]


def write(name: str) -> None:
    """Put its pictures, captions and masks into the package."""
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
