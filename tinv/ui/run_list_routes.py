"""The list of all runs."""

from collections.abc import Hashable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tinv.ui.page_template import render
from tinv.ui.site import Site, site_of


def _home(request: Request) -> Response:
    site = site_of(request)
    return render(request, "home", title="Runs", data={"runs": site.runs.summaries()}, root=str(site.runs.root))


def _runs(request: Request) -> Response:
    return JSONResponse(site_of(request).runs.summaries())


async def _changes(request: Request) -> Response:
    site = site_of(request)
    events = site.changes.listen("runs", lambda: _signature(site))
    return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})


def _signature(site: Site) -> Hashable:
    return repr([{**run, "seconds": 0} for run in site.runs.summaries()])


ROUTES = [
    Route("/", _home),
    Route("/api/runs", _runs),
    Route("/changes", _changes),
]
