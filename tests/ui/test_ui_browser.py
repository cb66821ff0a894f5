"""The pages work in a real browser: without errors, with a keyboard, on a phone, and live."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browsing import CONTRAST, DARK, DESKTOP, HOSTILE, NAMELESS, NEEDS_BROWSER, PHONE, sync_api
from tests.report.folders import write_run, write_samples, write_sweep
from tests.ui.serving import serve_pages
from tinv.runs.files import write_json
from tinv.runs.record_status import write_status
from tinv.runs.status import Status
from tinv.training.loggers.csv_logger import CSVLogger

pytestmark = NEEDS_BROWSER
PATHS = ["/", "/run/evil/2026-11-22_19-00-00", "/sweep/lr/2026-11-21_18-00-00"]
CALM = {**DESKTOP, "reduced_motion": "reduce"}


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A finished run, and a running one with hostile texts."""
    write_run(tmp_path / "cat" / "2026-11-22_18-00-00")
    write_samples(tmp_path / "cat" / "2026-11-22_18-00-00", [0, 10, 20])
    running = tmp_path / "evil" / "2026-11-22_19-00-00"
    write_run(running, token=HOSTILE, status=Status("running", started="2026-11-22T19:00:00Z"), command=HOSTILE)
    write_samples(running, [0, 10], token=HOSTILE, seeds=["seed 0", HOSTILE])
    write_json(running / "progress.json", progress(step=10))
    sweep = write_sweep(tmp_path / "lr" / "2026-11-21_18-00-00", [{"optimizer.lr": "1e-3"}, {"name": HOSTILE}])
    for point in ("0", "1"):
        write_run(sweep / point)
        write_samples(sweep / point, [0, 10])
    return tmp_path


def progress(*, step: int) -> dict[str, Any]:
    timeline = [[n, n / 2] for n in range(0, step + 1, 5)]
    left = {"steps_per_s": 2.0, "seconds_left": (100 - step) / 2, "loss": 0.1, "written_at": ""}
    return {"step": step, "max_steps": 100, **left, "timeline": timeline, "memory_gb": {"process": 1.5}}


@pytest.fixture
def open_page(browser: Any, outputs: Path) -> Iterator[Callable[..., Any]]:
    """Returns a function that opens a page; at the end, checks that there were no errors and no foreign requests."""
    problems, requests, contexts = [], [], []
    with serve_pages(outputs) as address:

        def open_path(path: str, **options: Any) -> Any:
            contexts.append(browser.new_context(**(options or DESKTOP)))
            page = contexts[-1].new_page()
            page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("request", lambda request: requests.append(request.url))
            page.goto(f"{address}{path}")
            return page

        yield open_path
        hits = [page.evaluate("window.hit") for context in contexts for page in context.pages]
        for context in contexts:
            context.close()
    assert problems == []
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []
    assert hits == [None] * len(hits)


def serious(page: Any) -> list[str]:
    """What axe finds serious or critical."""
    violations = Axe().run(page).response["violations"]
    severe = [violation for violation in violations if violation["impact"] in ("serious", "critical")]
    return [f"{violation['id']}: {[node['html'][:120] for node in violation['nodes'][:3]]}" for violation in severe]


@pytest.mark.parametrize("options", [DESKTOP, PHONE, DARK, CALM], ids=["desktop", "phone", "dark", "reduced-motion"])
@pytest.mark.parametrize("path", PATHS, ids=["runs", "run", "sweep"])
def test_pages_fit_the_window_and_have_no_serious_finding(open_page, path, options):
    page = open_page(path, **options)
    sync_api.expect(page.locator("h1")).to_be_visible()
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(NAMELESS) == page.evaluate(CONTRAST) == serious(page) == []


def test_a_running_run_is_live(open_page, outputs):
    page, run = open_page("/run/evil/2026-11-22_19-00-00"), outputs / "evil/2026-11-22_19-00-00"
    sync_api.expect(page.locator("#progress-line")).to_contain_text("step 10 of 100")
    sync_api.expect(page.locator("#film .film-head span")).to_have_count(3)
    before = page.locator(".chart path.curve").first.get_attribute("d")
    numbers = CSVLogger(run)
    numbers.log_metrics({"train/loss": 0.05, "val/loss": 0.04}, step=30)
    numbers.flush()
    write_samples(run, [30], token=HOSTILE, seeds=["seed 0", HOSTILE])
    write_json(run / "progress.json", progress(step=30))
    sync_api.expect(page.locator("#progress-line")).to_contain_text("step 30 of 100 · 2 steps/s")
    sync_api.expect(page.locator("#film .film-head span")).to_have_count(4)
    sync_api.expect(page.locator("output[name=current-step]")).to_have_text("30")
    sync_api.expect(page.locator("#cards")).to_contain_text("0.05")
    assert page.locator(".chart path.curve").first.get_attribute("d") != before
    write_status(run, Status("done", value=0.04, seconds=15))
    sync_api.expect(page.locator("#status")).to_have_text("done")


def test_a_new_run_appears_in_the_list_and_can_be_filtered(open_page, outputs):
    page = open_page("/")
    sync_api.expect(page.locator(".run-card")).to_have_count(3)
    write_run(outputs / "dog" / "2026-11-23_18-00-00", token="<my-dog>")
    sync_api.expect(page.locator(".run-card")).to_have_count(4)
    page.get_by_label("Filter").fill("my-dog")
    sync_api.expect(page.locator(".run-card")).to_have_count(1)
    page.get_by_label("Filter").fill("")
    page.get_by_label("Status").select_option("running")
    sync_api.expect(page.locator(".run-card")).to_have_count(1)
    page.get_by_label("Status").select_option("")
    page.locator(".run-card").first.focus()
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("h1")).not_to_have_text("Runs")


def test_two_steps_are_compared_with_the_keyboard_alone(open_page):
    page = open_page("/run/cat/2026-11-22_18-00-00")
    page.get_by_role("button", name="Compare", exact=True).focus()
    page.keyboard.press("Enter")
    dialog = page.locator("#compare")
    assert dialog.evaluate("it => it.open")
    right, steps = page.locator("#compare-right"), [page.locator("#compare-right").get_attribute("src")]
    assert page.locator("#compare-left").get_attribute("src") != steps[0]
    page.keyboard.press(",")
    steps.append(right.get_attribute("src"))
    page.keyboard.press(".")
    assert steps[0] != steps[1] and right.get_attribute("src") == steps[0]
    page.get_by_label("Boundary").focus()
    page.keyboard.press("Home")
    assert page.locator("#compare-stage").evaluate("it => it.style.getPropertyValue('--boundary')") == "0%"
    page.locator("select[name=rightRun]").select_option("evil/2026-11-22_19-00-00")
    sync_api.expect(right).to_have_attribute("src", re.compile("/sample/evil/"))
    page.locator("select[name=view]").select_option("side")
    assert serious(page) == []
    page.keyboard.press("Escape")
    assert not dialog.evaluate("it => it.open")


def test_the_time_axis_and_the_steps_of_samples_are_chosen(open_page):
    page = open_page("/run/evil/2026-11-22_19-00-00")
    sync_api.expect(page.locator(".chart svg").first).to_be_visible()
    page.get_by_label("Axis").select_option("time")
    sync_api.expect(page.locator(".chart svg .axis").first).to_have_text("seconds")
    page.get_by_role("slider", name="Step").focus()
    page.keyboard.press("Home")
    sync_api.expect(page.locator("output[name=current-step]")).to_have_text("0")
    page.locator("#changed summary").click()
    sync_api.expect(page.locator("#changed-settings table")).to_be_visible()
