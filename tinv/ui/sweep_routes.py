"""The page of a sweep: that of the report, made anew when files have changed."""

from collections.abc import Hashable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tinv.errors import UserError
from tinv.report.sweep_page import sweep_context
from tinv.runs import layout
from tinv.runs.reader import SweepReader
from tinv.ui.page_template import render
from tinv.ui.run_index import modified
from tinv.ui.site import site_of

_WATCHED = (layout.STATUS, layout.METRICS, layout.EVALUATION, layout.SAMPLES)


def _page(request: Request) -> Response:
    sweep = _find_sweep(request)
    base = request.scope.get("root_path", "")
    sweep_id = site_of(request).runs.id_of(sweep.folder)
    links = {point.number: f"{base}/run/{sweep_id}/{point.number}" for point in sweep.points}
    context = sweep_context(sweep, links)
    data = {**context.pop("data"), "id": sweep_id}
    return render(request, "sweep", data=data, **context)


def _changes(request: Request) -> Response:
    sweep = _find_sweep(request)
    events = site_of(request).changes.listen(f"sweep {sweep.folder}", lambda: _signature(sweep.folder))
    return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})


def _find_sweep(request: Request) -> SweepReader:
    sweep = SweepReader(site_of(request).runs.find(request.path_params["sweep"]))
    if not sweep.exists:
        raise UserError(f"{sweep.folder}: this is no sweep.")
    return sweep


def _signature(folder: Path) -> Hashable:
    points = [path for path in folder.iterdir() if path.name.isdecimal()]
    names = [folder / layout.PLAN, folder / layout.SWEEP_RESULTS]
    return tuple(modified(path) for path in [*names, *(point / name for point in sorted(points) for name in _WATCHED)])


ROUTES = [
    Route("/sweep/{sweep:path}", _page),
    Route("/changes/sweep/{sweep:path}", _changes),
]
