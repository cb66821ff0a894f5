"""The page of a run: its state, samples, files and settings."""

from collections.abc import Hashable
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tinv.errors import UserError
from tinv.formats import FORMATS
from tinv.runs import layout
from tinv.ui.page_template import render
from tinv.ui.run_index import modified
from tinv.ui.run_state import changed_settings, list_exports, run_state
from tinv.ui.sample_images import SIDES
from tinv.ui.site import site_of

_OF_REQUESTS = (layout.REQUESTS, f"{layout.REQUESTS}/{layout.ANSWERED}")
_OF_TRAINING = (layout.STATUS, layout.PROGRESS, layout.METRICS, layout.RUN_CARD, layout.SAMPLES, layout.LOG, "tinv.log")
_WATCHED = (*_OF_TRAINING, *_OF_REQUESTS)


def _page(request: Request) -> Response:
    site = site_of(request)
    folder = site.runs.find(request.path_params["run"])
    state = {"id": site.runs.id_of(folder), **run_state(site.read_run(folder))}
    data = {"run": state, "formats": list(FORMATS)}
    return render(request, "run", title=state["title"], data=data, folder=str(folder))


def _state(request: Request) -> Response:
    site = site_of(request)
    after = request.query_params.get("after", "")
    folder = site.runs.find(request.path_params["run"])
    first = int(after) if after.isdecimal() and len(after) < 13 else None
    return JSONResponse({"id": site.runs.id_of(folder), **run_state(site.read_run(folder), after=first)})


async def _changes(request: Request) -> Response:
    site = site_of(request)
    folder = await run_in_threadpool(site.runs.find, request.path_params["run"])
    events = site.changes.listen(str(folder), lambda: _signature(folder))
    return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})


def _signature(folder: Path) -> Hashable:
    concepts = [path / layout.SAMPLES for path in layout.concept_dirs(folder)]
    return tuple(modified(path) for path in (folder, *(folder / name for name in _WATCHED), *concepts))


def _settings(request: Request) -> Response:
    site = site_of(request)
    return JSONResponse(changed_settings(site.read_run(site.runs.find(request.path_params["run"]))))


def _sample(request: Request) -> Response:
    """Answers with a sample: `sheet` is its path in the run folder, `index` its number, `side` its size."""
    site, query = site_of(request), request.query_params
    folder = site.runs.find(request.path_params["run"])
    sheets = {path for concept in layout.concept_dirs(folder) for path in layout.list_samples(concept).values()}
    sheets |= {path for paths in layout.list_requested_samples(folder).values() for path in paths}
    sheet, index, side = folder / query.get("sheet", ""), query.get("index", "0"), query.get("side", "256")
    if sheet not in sheets or not index.isdecimal() or side not in map(str, SIDES):
        raise UserError("There is no such sample.")
    content = site.samples.get(sheet, int(index[:6]), int(side))
    keep = "private, max-age=31536000, immutable" if query.get("version") else "no-cache"
    return Response(content, media_type="image/webp", headers={"cache-control": keep})


def _file(request: Request) -> Response:
    """Answers with a file of the final embedding."""
    folder = site_of(request).runs.find(request.path_params["run"])
    path = folder / request.query_params.get("name", "")
    embeddings = {file for concept in layout.concept_dirs(folder) for file in layout.list_embeddings(concept)}
    if path not in embeddings | {*list_exports(folder)}:
        raise UserError("There is no such embedding.")
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


ROUTES = [
    Route("/run/{run:path}", _page),
    Route("/api/run/{run:path}", _state),
    Route("/api/settings/{run:path}", _settings),
    Route("/changes/run/{run:path}", _changes),
    Route("/sample/{run:path}", _sample),
    Route("/file/{run:path}", _file),
]
