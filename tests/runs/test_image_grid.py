"""What goes onto a sheet comes off it again, from a file that other programs see as a picture."""

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tinv.runs.image_grid import labelled_grid, read_headings, read_pictures, save_sheet


def pictures(count, size):
    numbers = np.random.default_rng(0)
    return [Image.fromarray(numbers.integers(0, 256, (size[1], size[0], 3), np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (200, 300), (129, 128)])
def test_pictures_come_off_a_sheet_to_the_last_bit(tmp_path, size):
    drawn = pictures(6, size)
    drawn[4] = None
    rows, columns = ["a photo of a <cat>", "<script>é"], ["seed 0", "seed 1", "seed 7"]
    save_sheet(labelled_grid(drawn, rows=rows, columns=columns), tmp_path / "sheet.png")
    headings = read_headings(tmp_path / "sheet.png")
    assert (headings.rows, headings.columns) == (tuple(rows), tuple(columns))
    found = read_pictures(tmp_path / "sheet.png", headings)
    assert [picture and picture.tobytes() for picture in found] == [p and p.tobytes() for p in drawn]


@pytest.mark.parametrize(
    "note",
    [
        None,
        "{",
        "[]",
        '{"rows": ["a"], "columns": ["b"], "cell": [64, 64], "times": 2, "missing": []}',
        '{"rows": ["a"], "columns": ["b"], "cell": [128, 128], "times": 0, "missing": []}',
        '{"rows": ["a"], "columns": ["b"], "cell": [128, 128], "times": 500, "missing": []}',
        '{"rows": [], "columns": ["b"], "cell": [128, 128], "times": 1, "missing": []}',
    ],
)
def test_a_sheet_that_says_nothing_true_of_itself_is_not_taken_apart(tmp_path, note):
    info = PngImagePlugin.PngInfo()
    if note:
        info.add_itxt("tinv-sheet", note)
    labelled_grid(pictures(1, (64, 64)), rows=["a"], columns=["b"]).save(tmp_path / "sheet.png", pnginfo=info)
    assert read_headings(tmp_path / "sheet.png") is None


def test_half_a_sheet_is_none(tmp_path):
    path = tmp_path / "sheet.png"
    save_sheet(labelled_grid(pictures(4, (64, 64)), rows=["a", "b"], columns=["c", "d"]), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert read_pictures(path, read_headings(path)) is None
    path.write_bytes(path.read_bytes()[:20])
    assert read_headings(path) is None
    assert read_headings(tmp_path / "absent.png") is None
