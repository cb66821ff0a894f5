"""The list of all runs."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tinv.ui.page_template import render
from tinv.ui.site import site_of

_POLL_S = 3.0
"""A folder can hold hundreds of runs."""


def _home(request: Request) -> Response:
    site = site_of(request)
    return render(request, "home", title="Runs", data={"runs": site.runs.summaries()}, root=str(site.runs.root))


def _runs(request: Request) -> Response:
    return JSONResponse(site_of(request).runs.summaries())


async def _changes(request: Request) -> Response:
    site = site_of(request)
    events = site.changes.listen("runs", site.runs.signature, poll_s=_POLL_S)
    return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})


ROUTES = [
    Route("/", _home),
    Route("/api/runs", _runs),
    Route("/changes", _changes),
]
