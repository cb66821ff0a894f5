"""The images of a grid can be read back from its file."""

import json

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tinv.runs.image_grid import draw_grid, read_grid_images, read_grid_labels, save_grid


def random_images(count, size):
    numbers = np.random.default_rng(0)
    return [Image.fromarray(numbers.integers(0, 256, (size[1], size[0], 3), np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (200, 300), (129, 128)])
def test_images_are_read_back_bit_for_bit(tmp_path, size):
    images = random_images(6, size)
    images[4] = None
    rows, columns = ["a photo of a <cat>", "<script>é"], ["seed 0", "seed 1", "seed 7"]
    save_grid(draw_grid(images, rows=rows, columns=columns), tmp_path / "grid.png")
    labels = read_grid_labels(tmp_path / "grid.png")
    assert (labels.rows, labels.columns) == (tuple(rows), tuple(columns))
    read = read_grid_images(tmp_path / "grid.png", labels)
    assert [image and image.tobytes() for image in read] == [image and image.tobytes() for image in images]


VALID = {"rows": ["a"], "columns": ["b"], "cell": [128, 128], "scale": 2, "missing": []}


@pytest.mark.parametrize(
    "metadata", [None, "{", "[]", *({"cell": [64, 64]}, {"scale": 0}, {"scale": 500}, {"rows": []}, {"missing": 1})]
)
def test_metadata_that_do_not_fit_the_image_are_ignored(tmp_path, metadata):
    info = PngImagePlugin.PngInfo()
    if metadata:
        info.add_itxt("tinv-grid", metadata if isinstance(metadata, str) else json.dumps(VALID | metadata))
    draw_grid(random_images(1, (64, 64)), rows=["a"], columns=["b"]).save(tmp_path / "grid.png", pnginfo=info)
    assert read_grid_labels(tmp_path / "grid.png") is None


def test_a_truncated_grid_has_no_images(tmp_path):
    path = tmp_path / "grid.png"
    save_grid(draw_grid(random_images(4, (64, 64)), rows=["a", "b"], columns=["c", "d"]), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert read_grid_images(path, read_grid_labels(path)) is None
    path.write_bytes(path.read_bytes()[:20])
    assert read_grid_labels(path) is None
    assert read_grid_labels(tmp_path / "missing.png") is None
