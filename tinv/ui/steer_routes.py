"""Requests to runs that train, and embeddings of other formats."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tinv.errors import UserError
from tinv.formats import FORMATS
from tinv.runs import requests
from tinv.runs.reader import RunReader
from tinv.runs.send_request import send_request
from tinv.runs.typed import to_type
from tinv.ui.json_body import read_object
from tinv.ui.site import site_of


async def _tell(request: Request) -> Response:
    """Sends a request to a run; the state of the run has the answer."""
    folder = await run_in_threadpool(site_of(request).runs.find, request.path_params["run"])
    try:
        sent = to_type(requests.Request, await read_object(request))
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"The request cannot be read: {error}.") from None
    return JSONResponse({"id": await run_in_threadpool(send_request, folder, sent)})


async def _convert(request: Request) -> Response:
    """Answers with the embeddings of a run that has ended, in another format."""
    site = site_of(request)
    run = RunReader(await run_in_threadpool(site.runs.find, request.path_params["run"]))
    format = (await read_object(request)).get("format")
    if format not in FORMATS:
        raise UserError(f"There is no format {str(format)[:40]!r}; there are {', '.join(FORMATS)}.")
    if not run.embeddings:
        raise UserError("The run has no embedding yet.")
    return JSONResponse(await site.painter.call("convert", source=str(run.folder), format=format))


ROUTES = [
    Route("/api/tell/{run:path}", _tell, methods=["POST"]),
    Route("/api/convert/{run:path}", _convert, methods=["POST"]),
]
