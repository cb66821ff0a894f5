"""The pages work in a real browser, without errors and without requests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browsing import CONTRAST, DARK, DESKTOP, HOSTILE, NAMELESS, NEEDS_BROWSER, PHONE, sync_api
from tests.report.folders import write_run, write_samples, write_sweep
from tinv.report import write_report
from tinv.runs.status import Status

pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four points: done, done, failed, running; three settings, all texts hostile."""
    values = [("1", "1e-3"), ("2", "1e-1"), ("10", "5"), ("4", "1e-2")]
    names = ("embedding.num_vectors", "optimizer.lr", "name")
    swept = [dict(zip(names, (k, lr, f"{i}{HOSTILE}"), strict=True)) for i, (k, lr) in enumerate(values)]
    folder = write_sweep(tmp_path_factory.mktemp("toy") / "sweep", swept, {2: Status("failed", reason=HOSTILE)})
    for number, losses in ((0, (0.4, 0.3, 0.2)), (1, (0.4, 0.3, 0.1)), (3, (0.4, 0.35))):
        write_run(folder / str(number), losses=losses, token=HOSTILE, status=Status("running") if number == 3 else None)
        write_samples(folder / str(number), [0, 10, 20], token=HOSTILE, seeds=["seed 0", HOSTILE])
    return folder


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Returns a function that opens a report; at the end, checks that there were no requests and no errors."""
    problems, requests, contexts = [], [], []

    def open_report(folder: Path, **options: Any) -> Any:
        contexts.append(browser.new_context(**(options or DESKTOP)))
        page = contexts[-1].new_page()
        page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(write_report(folder).as_uri())
        sync_api.expect(page.locator(".chart:not(:has(svg))")).to_have_count(0)
        return page

    yield open_report
    hits = [page.evaluate("window.hit") for context in contexts for page in context.pages]
    for context in contexts:
        context.close()
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert hits == [None] * len(hits)


def column(page: Any, number: int) -> list[str]:
    rows = page.locator("table[data-sortable] tbody tr")
    return [row.locator("th, td").nth(number).inner_text().split("\n")[0].strip() for row in rows.all()]


def points(page: Any, rows: str) -> list[str]:
    return [row.get_attribute("data-point") for row in page.locator(f"{rows}[data-point]").all()]


def test_tables_sort_numerically_with_missing_values_last(open_page, sweep):
    page = open_page(sweep)
    button = page.get_by_role("button", name="num_vectors")
    button.click()
    assert column(page, 1) == ["1", "2", "4", "10"]
    button.press("Enter")
    assert column(page, 1) == ["10", "4", "2", "1"]
    heads = page.locator("thead th")
    assert [heads.nth(i).get_attribute("aria-sort") for i in (0, 1)] == [None, "descending"]
    page.locator("thead").get_by_role("button", name="val/loss").click()
    assert points(page, "tbody tr") == ["1", "0", "3", "2"]


def test_samples_enlarge_and_the_keyboard_selects_others(open_page, sweep):
    page = open_page(sweep)
    page.locator(".thumb").first.focus()
    page.keyboard.press("Enter")
    viewer = page.locator("#viewer")
    assert viewer.evaluate("it => it.open")

    def details() -> tuple[str, str]:
        return viewer.locator("[data-part=detail]").inner_text(), viewer.locator(".stage img").get_attribute("src")

    visited = [details()]
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        visited.append(details())
    assert visited[0] == visited[4] and len(set(visited)) == 4
    assert visited[2][0].startswith("point 1 ")
    page.keyboard.press(",")
    assert "step 10" in details()[0]
    page.keyboard.press("Escape")
    assert not viewer.evaluate("it => it.open")
    assert page.locator(".thumb").first.evaluate("it => it === document.activeElement")


def test_the_step_slider_changes_all_samples(open_page, sweep):
    page = open_page(sweep)
    images, sources = page.locator(".thumb img"), "images => images.map((image) => image.src)"
    before = images.evaluate_all(sources)
    page.get_by_role("slider", name="Step").focus()
    page.keyboard.press("Home")
    assert not set(before) & set(images.evaluate_all(sources))
    assert images.evaluate_all("images => images.every((image) => image.naturalWidth)")
    page.keyboard.press("End")
    assert images.evaluate_all(sources) == before


def test_samples_can_be_filtered_by_seed_and_sorted_by_value(open_page, sweep):
    page = open_page(sweep)
    page.locator("select[name=seed]").select_option("1")
    assert {thumb.get_attribute("data-seed") for thumb in page.locator(".thumb:visible").all()} == {"1"}
    page.locator("select[name=order]").select_option("value")
    assert points(page, ".sheet-row") == ["1", "0", "3", "2"]


def test_a_point_is_highlighted_everywhere(open_page, sweep):
    page = open_page(sweep)
    page.locator("tbody tr[data-point='1']").hover()
    assert page.locator("#curves-chart.dimmed path.on").count() == 1
    assert page.locator("#effects-charts circle.on").count() == 3
    assert page.locator(".sheet-row.on").count() == 1
    page.locator("h1").hover()
    assert page.locator(".dimmed").count() == 0


def test_curves_have_smoothing_and_a_log_scale(open_page, sweep):
    page = open_page(sweep)
    drawn = []
    for change in (
        lambda: None,
        page.get_by_label("Log scale").check,
        lambda: page.get_by_label("Smoothing").press("End"),
        lambda: page.locator("select[name=metric]").select_option("embedding/norm"),
    ):
        change()
        paths = page.locator("#curves-chart path[data-of]")
        drawn.append(paths.evaluate_all("paths => paths.map((path) => path.getAttribute('d'))"))
    assert [len(paths) for paths in drawn] == [3] * 4 and len(set(map(tuple, drawn))) == 4
    assert not any("NaN" in path for paths in drawn for path in paths)


@pytest.mark.parametrize("options", [DESKTOP, PHONE, DARK], ids=["desktop", "phone", "dark"])
def test_pages_fit_the_window_and_have_accessible_texts(open_page, sweep, options):
    for folder in (sweep, sweep / "0"):
        page = open_page(folder, **options)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(CONTRAST) == page.evaluate(NAMELESS) == []


def test_an_empty_sweep_opens(open_page, tmp_path):
    open_page(write_sweep(tmp_path / "none", []))
    open_page(write_sweep(tmp_path / "one", [{"seed": "1"}]))


@pytest.mark.parametrize("values", [(1.189, 1.1895, 1.19), (0, 0.5, 1), (100_000, 100_001), (1.234e-4, 1.235e-4)])
def test_labels_of_ticks_are_where_their_numbers_are(open_page, tmp_path, values):
    folder = write_sweep(tmp_path / "sweep", [{"seed": str(i)} for i in range(len(values))])
    for i, value in enumerate(values):
        write_run(folder / str(i), losses=(values[0], value))
    charts = open_page(folder).evaluate(
        """() => [...document.querySelectorAll('svg')].map((svg) =>
            [...svg.querySelectorAll('.grid text[text-anchor=end]:not(.axis)')].map((text) =>
            [Number(text.textContent), Number(text.getAttribute('y')), text.getBBox().x]))"""
    )
    assert [len(ticks) > 2 for ticks in charts].count(True) >= 2
    for ticks in filter(None, charts):
        numbers, positions, left = np.array(ticks).T
        expected = np.interp(numbers, numbers[[0, -1]], positions[[0, -1]])
        assert len(set(numbers)) == len(numbers) and np.allclose(positions, expected, atol=0.5)
        assert min(left) > 4
