"""Renders the pages, and serves their styles and scripts: those of the report, and further ones."""

from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from tinv import __version__
from tinv.report.page import ASSETS as REPORT_ASSETS
from tinv.report.page import SCRIPTS, bundle_scripts, make_engine, read_assets

ASSETS = Path(__file__).parent / "assets"
FOLDERS = (ASSETS, REPORT_ASSETS)
_CHARTS = ("dom", "scale", "color", "highlight", "tooltip", "line_chart", "copy", "live")
"""Modules of the report, in the order of their dependencies, and requests to the server."""


@dataclass(frozen=True)
class Page:
    """A page: its template and the modules of its script."""

    template: str
    scripts: tuple[str, ...]

    @cached_property
    def script(self) -> str:
        """Its script."""
        return bundle_scripts(self.scripts, folders=FOLDERS)


PAGES = {
    "home": Page("home.html", (*_CHARTS, "home")),
    "new": Page("new.html", (*_CHARTS, "images", "new")),
    "run": Page("run.html", (*_CHARTS, "samples", "compare", "live_curves", "steer", "run")),
    "try": Page("try.html", (*_CHARTS, "try")),
    "sweep": Page("sweep.html", (*SCRIPTS, "live", "sweep_live")),
}
NAVIGATION = (("home", "", "Runs"), ("new", "new", "New"), ("try", "try", "Try it"))
"""The pages in the bar at the top: name, path and title."""


@cache
def style() -> str:
    """Returns the style sheet of the report, with that of these pages behind it."""
    return read_assets("style.css", "ui.css", folders=FOLDERS)


@cache
def version() -> str:
    """Returns a digest of all styles and scripts; addresses contain it, so that browsers may keep them."""
    return sha256("\0".join([style(), *(page.script for page in PAGES.values())]).encode()).hexdigest()[:12]


_ENGINE = make_engine(*FOLDERS)


def render(request: Request, name: str, *, title: str, data: dict[str, Any], **context: Any) -> Response:
    """Returns a page; `data` is for its script."""
    base = request.scope.get("root_path", "")
    page = _ENGINE.get_template(PAGES[name].template)
    html = page.render(
        base=base,
        name=name,
        title=title,
        navigation=NAVIGATION,
        assets=f"{base}/assets/{version()}",
        version=__version__,
        data={"base": base, **data},
        **context,
    )
    return HTMLResponse(html, headers={"cache-control": "no-store"})


async def asset(request: Request) -> Response:
    """Answers with a style sheet or a script."""
    name = request.path_params["name"]
    keep = {"cache-control": "public, max-age=31536000, immutable"}
    if name == "style.css":
        return Response(style(), media_type="text/css", headers=keep)
    page = PAGES.get(name.removesuffix(".js"))
    if page is None or not name.endswith(".js"):
        return PlainTextResponse("no such file", 404)
    return Response(page.script, media_type="text/javascript", headers=keep)
