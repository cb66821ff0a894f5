"""Runs on a tiny model."""

from pathlib import Path

from tests.tiny import tiny_images, tiny_pipeline

TINY = [
    *["model=local", "model.pretrained=model", "data.folder=images"],
    *["concept.placeholder_token=my-cat", "concept.initializer_token=toy"],
]
"""The settings of a run in a folder that `write_tiny` has filled."""


def write_tiny(folder: Path) -> None:
    tiny_pipeline(folder / "model")
    tiny_images(folder / "images")
