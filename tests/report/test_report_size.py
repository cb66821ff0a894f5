"""The size of a page is limited."""

import numpy as np
import pytest

from tests.report.folders import make_image, write_run, write_samples, write_sweep
from tinv.report import write_report
from tinv.report.contact_sheet import SheetSource, make_contact_sheet
from tinv.report.downsample import pick_evenly, shorten_curve
from tinv.report.thumbnails import thumbnail
from tinv.runs.layout import samples_path

MAX_SIZE = 32_000_000
"""Bytes, as docs/report.md says."""


def sources(folder, rows, **look):
    steps = (0, 10, 20)
    for row in range(rows):
        write_samples(folder / str(row), steps, **look)
    return [SheetSource(row, {s: [samples_path(folder / str(row), s)] for s in steps}) for row in range(rows)]


@pytest.mark.parametrize(
    ("max_images", "expected"),
    [(100, (3, 2, 2)), (24, (3, 2, 2)), (16, (2, 2, 2)), (8, (1, 2, 2)), (4, (1, 1, 2)), (1, (1, 1, 1))],
)
def test_steps_are_omitted_first_then_seeds_then_prompts(tmp_path, max_images, expected):
    sheet = make_contact_sheet(sources(tmp_path, 2), max_images=max_images)
    assert tuple(map(len, (sheet.steps, sheet.seeds, sheet.columns))) == expected
    assert sheet.steps[-1] == 20 and bool(sheet.omitted) == (expected != (3, 2, 2))
    assert [len(row.frames) for row in sheet.rows] == [expected[0]] * 2


@pytest.mark.parametrize("max_bytes", [1_000_000, 100_000, 30_000])
def test_thumbnails_fit_the_limit(tmp_path, max_bytes):
    sheet = make_contact_sheet(sources(tmp_path, 2, side=256, noise=True), max_bytes=max_bytes)
    urls = [url for row in sheet.rows for frame in row.frames.values() for url in frame.values()]
    assert len(urls) == 24
    assert sum(map(len, urls)) <= max_bytes * 4 / 3 + 24 * 40


def test_small_images_are_not_enlarged_and_large_ones_are_reduced():
    assert len(thumbnail(make_image(0, 64), 10**6)) < 3000
    assert len(thumbnail(make_image(0, 2048, noise=True), 10**6)) < 600_000


def test_a_shortened_curve_has_all_peaks():
    values = np.random.default_rng(0).normal(size=10_000)
    values[1234], values[5678] = 99, -99
    curve = [(i, float(value)) for i, value in enumerate(values)]
    short = shorten_curve(curve, 500)
    assert len(short) <= 500 and short[-1] == curve[-1]
    assert {(1234, 99.0), (5678, -99.0)} <= set(short) <= set(curve)
    assert shorten_curve(curve[:500], 500) == curve[:500]


def test_the_first_and_the_last_item_are_picked():
    assert pick_evenly(range(100), 3) == [0, 50, 99]
    assert pick_evenly(range(100), 1) == [99]
    assert pick_evenly(range(3), 5) == [0, 1, 2]
    assert pick_evenly([], 0) == []


@pytest.mark.slow
def test_the_page_of_300_points_with_incompressible_images_is_limited(tmp_path):
    swept = [{"seed": str(i), "optimizer.lr": str(i / 7), "name": "x" * 200} for i in range(300)]
    folder = write_sweep(tmp_path / "sweep", swept)
    for i in range(300):
        write_run(folder / str(i), losses=np.random.default_rng(i).normal(size=120).tolist())
        write_samples(folder / str(i), [0, 10], prompts=["a {}"], side=128, noise=True)
    assert MAX_SIZE / 4 < write_report(folder).stat().st_size < MAX_SIZE
