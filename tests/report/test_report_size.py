"""A page stays small, whatever the sweep, and shows of everything as much as there is room for."""

import numpy as np
import pytest

from tests.report.folders import picture, write_run, write_sheets, write_sweep
from tinv.report import write_report
from tinv.report.contact_sheet import Source, make_album
from tinv.report.downsample import pick_evenly, shorten
from tinv.report.thumbnails import thumbnail

MOST = 32_000_000
"""Bytes, as docs/report.md says."""


def sources(folder, rows, **look):
    for row in range(rows):
        write_sheets(folder / str(row), [0, 10, 20], **look)
    return [Source(row, {s: [folder / f"{row}/samples/step_{s:06d}.png"] for s in (0, 10, 20)}) for row in range(rows)]


@pytest.mark.parametrize(
    ("most", "kept"),
    [(100, (3, 2, 2)), (24, (3, 2, 2)), (16, (2, 2, 2)), (8, (1, 2, 2)), (4, (1, 1, 2)), (1, (1, 1, 1))],
)
def test_steps_are_left_out_first_then_seeds_then_prompts(tmp_path, most, kept):
    album = make_album(sources(tmp_path, 2), most_pictures=most)
    assert tuple(map(len, (album.steps, album.seeds, album.columns))) == kept
    assert album.steps[-1] == 20
    assert bool(album.omitted) == (kept != (3, 2, 2))
    assert [len(row.frames) for row in album.rows] == [kept[0]] * 2


@pytest.mark.parametrize("most_bytes", [1_000_000, 100_000, 30_000])
def test_pictures_shrink_until_all_fit(tmp_path, most_bytes):
    album = make_album(sources(tmp_path, 2, side=256, noise=True), most_bytes=most_bytes)
    addresses = [picture for row in album.rows for frame in row.frames.values() for picture in frame.values()]
    assert len(addresses) == 24
    assert sum(map(len, addresses)) <= most_bytes * 4 / 3 + 24 * 40


def test_a_small_picture_is_not_enlarged_and_a_large_one_is_not_kept():
    assert len(thumbnail(picture(0, 64), 10**6)) < 3000
    assert len(thumbnail(picture(0, 2048, noise=True), 10**6)) < 600_000


def test_no_peak_of_a_curve_is_lost():
    values = np.random.default_rng(0).normal(size=10_000)
    values[1234], values[5678] = 99, -99
    curve = [(i, float(value)) for i, value in enumerate(values)]
    kept = shorten(curve, 500)
    assert len(kept) <= 500
    assert kept[-1] == curve[-1]
    assert {(1234, 99.0), (5678, -99.0)} <= set(kept) <= set(curve)
    assert shorten(curve[:500], 500) == curve[:500]


def test_the_first_and_the_last_of_many_are_kept():
    assert pick_evenly(range(100), 3) == [0, 50, 99]
    assert pick_evenly(range(100), 1) == [99]
    assert pick_evenly(range(3), 5) == [0, 1, 2]
    assert pick_evenly([], 0) == []


@pytest.mark.slow
def test_the_page_of_hundreds_of_points_with_pictures_that_do_not_compress_is_bounded(tmp_path):
    count = 300
    swept = [{"seed": str(i), "optimizer.lr": str(i / 7), "name": "x" * 200} for i in range(count)]
    folder = write_sweep(tmp_path / "sweep", swept)
    for i in range(count):
        write_run(folder / str(i), losses=np.random.default_rng(i).normal(size=120).tolist())
        write_sheets(folder / str(i), [0, 10], prompts=["a {}"], side=128, noise=True)
    size = write_report(folder).stat().st_size
    assert MOST / 4 < size < MOST
