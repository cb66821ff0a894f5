"""From images to a file that another program loads, in a browser: the whole way through the pages."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from tests.browsing import DESKTOP, NEEDS_BROWSER, sync_api
from tests.conftest import ROOT
from tests.ui.serving import serve_pages
from tinv.runs.reader import RunReader

pytestmark = NEEDS_BROWSER
IMAGES = sorted((ROOT / "tinv/toybox/concepts/cat_toy").glob("*.png"))
TIMEOUT_MS = 240_000
"""A loaded machine imports torch in a minute."""


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    problems: list[str] = []
    with serve_pages(tmp_path / "outputs") as address:
        context = browser.new_context(**DESKTOP, accept_downloads=True)
        context.set_default_timeout(TIMEOUT_MS)
        page = context.new_page()
        page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{address}/new")
        yield page
        context.close()
    for path in (tmp_path / "outputs").rglob("status.json"):  # a run outlives the server
        if (status := RunReader(path.parent).status) and not status.has_ended and ":" in status.process:
            psutil.Process(int(status.process.rpartition(":")[2])).kill()
    assert problems == []


def expect(locator: Any) -> Any:
    sync_api.expect.set_options(timeout=TIMEOUT_MS)
    return sync_api.expect(locator)


def test_a_word_is_learned_steered_drawn_and_exported_without_leaving_the_page(page, tmp_path):
    # images, captions, order
    page.locator("#files-input").set_input_files(IMAGES)
    expect(page.locator(".image-card")).to_have_count(len(IMAGES))
    for i, caption in enumerate(
        ["a {} on a beach", "a {} in a studio", "a {} on grass", "a {} on wood", "a {} at a wall"]
    ):
        page.locator(".image-card textarea").nth(i).fill(caption)
    page.get_by_role("button", name=f"Later: {IMAGES[0].name}").click()
    page.get_by_role("button", name=f"Exclude: {IMAGES[4].name}").click()

    # checked while it is typed
    page.get_by_label("Placeholder token").fill("cat")
    expect(page.locator("[data-setting='concept.placeholder_token']")).to_contain_text("already a token")
    assert page.get_by_role("button", name="Start").is_disabled()
    page.get_by_label("Placeholder token").fill("<my-cat>")
    page.get_by_label("Initializer token").fill("toy")
    page.get_by_label("Steps", exact=True).fill("4000")
    page.get_by_label("Further settings").fill("callbacks.samples.every_n_steps=5 callbacks.samples.seeds=[0]")
    expect(page.locator("#check-state")).to_have_text("Ready.")
    expect(page.locator(".image-card img[src^='data:']")).to_have_count(len(IMAGES) - 1)
    assert "tinv-train data.folder=" in page.locator("#command").inner_text()

    # started, live
    page.get_by_role("button", name="Start").click()
    expect(page.locator("h1")).to_have_text("<my-cat>")
    expect(page.locator("#film .thumb").nth(3)).to_be_visible()
    (folder,) = (tmp_path / "outputs/uploads").glob("*/images-*")
    assert [path.name for path in sorted(folder.glob("*.png"))] == [
        f"{i} {n}.png" for i, n in enumerate("2134", start=1)
    ]
    assert (folder / "1 2.txt").read_text() == "a {} in a studio\n"

    # steered
    page.get_by_role("button", name="Sample now").click()
    page.get_by_label("Prompts").fill("a {} in the snow")
    page.locator("#sample-form [name=seeds]").fill("7")
    page.locator("#sample-form [value=send]").click()
    expect(page.locator("#requested-sheets figcaption")).to_have_text("a <my-cat> in the snow, seed 7")
    page.get_by_role("button", name="Stop and keep").click()
    expect(page.locator("#status")).to_have_text("done")
    expect(page.locator("#reason")).to_contain_text("stopped on request")

    # exported for AUTOMATIC1111
    page.locator("#export-format").select_option("a1111")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export", exact=True).click()
    content = torch.load(download.value.path(), weights_only=True)
    assert content["string_to_param"]["*"].shape[0] == 1

    # drawn
    page.get_by_role("link", name="Try it").last.click()
    page.locator("[name=seeds]").fill("0-1")
    page.get_by_label("Prompts").fill("a photo of a {}")
    page.get_by_role("button", name="Draw").click()
    expect(page.locator("#draw-state")).to_have_text("Done.")
    images = page.locator(".result-images img")
    sources = images.evaluate_all("images => images.map((image) => image.src)")
    assert len({hashlib.sha256(source.encode()).hexdigest() for source in sources}) == 2
    assert images.evaluate_all("images => images.every((image) => image.naturalWidth === 64)")
