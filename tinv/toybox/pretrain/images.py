"""Stage 1, images: renders the training images and their captions in chunks."""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from tinv.toybox.world import recaption, render_image

CHUNK = 1000
"""Number of images in a file."""
CAPTIONS = 4
"""Number of different true captions of each image."""
TRAINING_SEEDS = 1_000_000
"""Seed of the first image of the training set."""
UNSEEN_SEEDS = 900_000_000
"""Seed of the first image outside the training set."""


def write_chunk(folder: Path, index: int) -> None:
    """Renders one chunk of the training set with its captions."""
    seeds = range(TRAINING_SEEDS + index * CHUNK, TRAINING_SEEDS + (index + 1) * CHUNK)
    images, captions = [], []
    for seed in seeds:
        image, caption = render_image(seed)
        images.append(image)
        captions.append([caption, *(recaption(seed, draw) for draw in range(1, CAPTIONS))])
    partial = folder / f"{index:04d}.part"
    partial.write_text(json.dumps(captions))
    os.replace(partial, folder / f"{index:04d}.json")
    with partial.open("wb") as file:
        np.save(file, np.stack(images))
    os.replace(partial, folder / f"{index:04d}.npy")


def render_images(out: Path, *, count: int, processes: int) -> None:
    """Renders `count` images (rounded up to chunks) into `out/images`; finished chunks are not repeated."""
    folder = out / "images"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [i for i in range(-(-count // CHUNK)) if not (folder / f"{i:04d}.npy").exists()]
    print(f"images: {len(missing)} chunks of {CHUNK} to render", flush=True)
    with ProcessPoolExecutor(processes) as pool:
        for done, _ in enumerate(pool.map(write_chunk, [folder] * len(missing), missing), start=1):
            if done % 10 == 0:
                print(f"images: {done} of {len(missing)} chunks", flush=True)


def load_images(out: Path, count: int) -> np.ndarray:
    """Returns the first `count` training images, [count, 64, 64, 3] uint8."""
    files = [out / "images" / f"{i:04d}.npy" for i in range(-(-count // CHUNK))]
    return np.concatenate([np.load(file) for file in files])[:count]


def load_captions(out: Path, count: int) -> list[list[str]]:
    """Returns the captions of the first `count` training images."""
    files = [out / "images" / f"{i:04d}.json" for i in range(-(-count // CHUNK))]
    return [captions for file in files for captions in json.loads(file.read_text())][:count]


def unseen_images(count: int) -> tuple[np.ndarray, list[str]]:
    """Returns images outside the training set, [count, 64, 64, 3] uint8, with a caption each."""
    pairs = [render_image(UNSEEN_SEEDS + i) for i in range(count)]
    return np.stack([image for image, _ in pairs]), [caption for _, caption in pairs]
