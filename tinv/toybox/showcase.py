"""Draws a sheet of a run: its training images, samples during training, and samples of other prompts.

python train.py +experiment=cat_toy callbacks.export.every_n_steps=50
python -m tinv.toybox.showcase --run outputs/cat_toy/<time> --out docs/images/cat_toy.png
"""

import argparse
import re
from pathlib import Path

from PIL import Image

from tinv import formats
from tinv.formats import LearnedEmbedding
from tinv.models import LatentDiffusion, load
from tinv.models.sampling import generate_images
from tinv.runs.files import write_atomically
from tinv.runs.image_grid import draw_grid
from tinv.runs.reader import RunReader
from tinv.toybox import concept_images
from tinv.toybox.recovery import find_concept_name

COLUMNS = 5
SAMPLING = {"num_inference_steps": 25, "guidance_scale": 3.5}
EDITS = {
    "object": ("a {} on the beach", "a red {}", "a drawing of a {}", "a {} at night", "pixel art of a {}"),
    "style": tuple(f"a {thing} in the style of {{}}" for thing in ("cat toy", "robot", "star", "teapot", "dog toy")),
}
PLAIN = {"object": "a photo of a {}", "style": "a house in the style of {}"}


def draw(model: LatentDiffusion, prompts: list[str], learned: LearnedEmbedding) -> list[Image.Image]:
    """Returns a sample of each prompt; a column has the same seed in every row."""
    filled = [prompt.format(learned.placeholder_token) for prompt in prompts]
    return generate_images(
        model, filled, {learned.placeholder_token: learned.vectors}, seeds=range(len(prompts)), **SAMPLING
    )


def make_sheet(run: Path) -> Image.Image:
    """Returns a sheet with a row each for training images, samples before, halfway and after, and edits."""
    learned = formats.read(run)
    card = RunReader(run).card
    kind, initializer = card["concept"]["kind"], card["concept"]["initializer_token"]
    model = load(learned.provenance["base_model"])
    exports = sorted(run.glob("learned_embeds-steps-*.safetensors"), key=_step)
    halfway = exports[len(exports) // 2 - 1]
    plain = PLAIN[kind]
    before = plain.format(initializer)
    rows: dict[str, list[Image.Image]] = {
        "training images": list(map(Image.open, concept_images(find_concept_name(learned.placeholder_token)))),
        f"before: {before}": generate_images(model, [before] * COLUMNS, {}, seeds=range(COLUMNS), **SAMPLING),
        f"step {_step(halfway)}: {plain}": draw(model, [plain] * COLUMNS, formats.read(halfway)),
        f"step {learned.provenance['steps']}: {plain}": draw(model, [plain] * COLUMNS, learned),
        ", ".join(EDITS[kind]): draw(model, list(EDITS[kind]), learned),
    }
    headings = [heading.replace("{}", learned.placeholder_token) for heading in rows]
    return draw_grid(
        [render_image for row in rows.values() for render_image in row], rows=headings, columns=[""] * COLUMNS
    )


def _step(path: Path) -> int:
    return int(re.sub(r"\D", "", path.stem))


def main() -> None:
    """`python -m tinv.toybox.showcase --run DIR --out PNG`: draws the sheet."""
    parser = argparse.ArgumentParser(prog="python -m tinv.toybox.showcase", description=main.__doc__)
    parser.add_argument("--run", type=Path, required=True, help="a run of a toybox concept, with exports on the way")
    parser.add_argument("--out", type=Path, required=True, help="the image to write")
    arguments = parser.parse_args()
    with write_atomically(arguments.out) as draft:
        make_sheet(arguments.run).save(draft, format="png", optimize=True)


if __name__ == "__main__":
    main()
