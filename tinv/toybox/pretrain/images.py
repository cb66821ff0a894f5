"""Stage 1, pictures: render the world once, in chunks, each file appearing whole or not at all."""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from tinv.toybox.world import recaption, render_image

CHUNK = 1000
"""Pictures in a file."""
CAPTIONS = 4
"""Different true captions of each picture."""
TRAINING_SEEDS = 1_000_000
"""The first picture of the training set."""
UNSEEN_SEEDS = 900_000_000
"""The first picture of the set that no stage trains on."""


def write_chunk(folder: Path, index: int) -> None:
    """Render one chunk of the training set with its captions."""
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
    """Render `count` pictures (rounded up to whole chunks) into `out/pictures`; finished chunks are kept."""
    folder = out / "images"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [i for i in range(-(-count // CHUNK)) if not (folder / f"{i:04d}.npy").exists()]
    print(f"images: {len(missing)} chunks of {CHUNK} to render", flush=True)
    with ProcessPoolExecutor(processes) as pool:
        for done, _ in enumerate(pool.map(write_chunk, [folder] * len(missing), missing), start=1):
            if done % 10 == 0:
                print(f"images: {done} of {len(missing)} chunks", flush=True)


def load_images(out: Path, count: int) -> np.ndarray:
    """The first `count` training pictures, [count, 64, 64, 3] uint8."""
    files = [out / "images" / f"{i:04d}.npy" for i in range(-(-count // CHUNK))]
    return np.concatenate([np.load(file) for file in files])[:count]


def load_captions(out: Path, count: int) -> list[list[str]]:
    """The captions of the first `count` training pictures."""
    files = [out / "images" / f"{i:04d}.json" for i in range(-(-count // CHUNK))]
    return [captions for file in files for captions in json.loads(file.read_text())][:count]


def unseen_images(count: int) -> tuple[np.ndarray, list[str]]:
    """Pictures that no stage trains on, [count, 64, 64, 3] uint8, with a caption each."""
    pairs = [render_image(UNSEEN_SEEDS + i) for i in range(count)]
    return np.stack([image for image, _ in pairs]), [caption for _, caption in pairs]
