"""What the benchmarks train on: a model folder, a resolution, and a folder of five images."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from bench import random_pipeline
from bench.published import configs
from tinv.runs.files import resolve_path

TOYBOX, CONCEPT = "pkg://tinv/toybox/pipeline", "pkg://tinv/toybox/concepts/cat_toy"
TITLES = {
    "toybox": "the toybox, 64 px",
    "hundredth": "Stable Diffusion 1.5's shape at a hundredth of its cost, random weights, 128 px",
    "sd15": "Stable Diffusion 1.5 at full size, random weights, 512 px",
    "sdxl": "Stable Diffusion XL at full size, random weights, 1024 px",
}
NEED_GPU = ("sd15", "sdxl")


@dataclass(frozen=True)
class Subject:
    """A model and its training images."""

    name: str
    model: Path
    resolution: int
    images: Path


def prepare(name: str, folder: Path, *, tiny: bool = False) -> Subject:
    """The model and the images, created in a folder unless tinv ships them.

    Args:
        name: one of `TITLES`.
        place: an empty folder.
        tiny: a few thousand weights of the same layout instead.
    """
    if name == "toybox" and not tiny:
        return Subject(name, resolve_path(TOYBOX), 64, without_captions(resolve_path(CONCEPT), folder / "images"))
    shapes = configs("sd15" if name == "toybox" else name, small=tiny)
    torch.manual_seed(0)
    random_pipeline.write(shapes, folder / "model", dtype=torch.float32, device="cpu")
    return Subject(name, folder / "model", shapes["vae"]["sample_size"], photographs(folder / "images"))


def without_captions(concept: Path, folder: Path) -> Path:
    """Copy the images without their captions: diffusers' script opens every file of a folder as an image."""
    folder.mkdir(parents=True)
    for image in concept.glob("*.png"):
        shutil.copy(image, folder)
    return folder


def photographs(folder: Path, count: int = 5) -> Path:
    """Write `count` images of 800 x 600 pixels, a size that users have."""
    folder.mkdir(parents=True)
    toys = sorted(resolve_path(CONCEPT).glob("*.png"))
    for n in range(count):
        with Image.open(toys[n % len(toys)]) as toy:
            image = toy.convert("RGB").rotate(n // len(toys)).resize((800, 600), Image.Resampling.BICUBIC)
        image.save(folder / f"{n:03d}.jpg", quality=95)
    return folder
