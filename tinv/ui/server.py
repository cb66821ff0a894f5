"""The server of `tinv ui`: its parts, its routes, and its start."""

import asyncio
import secrets
import webbrowser
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tinv.errors import UserError
from tinv.ui import new_routes, run_list_routes, run_routes, steer_routes, sweep_routes, try_routes
from tinv.ui.page_template import asset
from tinv.ui.protection import Protection
from tinv.ui.site import Site

_PARTS = (run_list_routes, new_routes, try_routes, sweep_routes, steer_routes, run_routes)
"""Each has the routes of a page in `ROUTES`."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
KEEP_MODEL_S = 300.0
MAX_UPLOAD_BYTES = 64_000_000
"""Of one image."""


def create_app(
    root: Path, *, token: str = "", hosts: Collection[str] = LOOPBACK, keep_model_s: float = KEEP_MODEL_S
) -> Starlette:
    """Returns the application for the runs below a folder.

    Args:
        root: the folder of outputs.
        token: the first part of every path; empty on this machine alone.
        hosts: names in the header `Host` that are answered; empty allows all.
        keep_model_s: seconds without work after which a process with a loaded model ends.
    """
    site = Site(root, keep_model_s=keep_model_s)

    @asynccontextmanager
    async def close_at_end(app: Starlette) -> AsyncIterator[None]:
        yield
        await site.close()

    protection = Middleware(Protection, token=token, hosts=hosts, max_upload_bytes=MAX_UPLOAD_BYTES)
    app = Starlette(
        routes=[Route("/assets/{version}/{name}", asset), *(route for part in _PARTS for route in part.ROUTES)],
        middleware=[protection],
        exception_handlers={UserError: _user_error},
        lifespan=close_at_end,
    )
    app.state.site = site
    return app


def serve(root: Path, *, host: str, port: int, open_browser: bool, keep_model_s: float = KEEP_MODEL_S) -> None:
    """Serves the page until Ctrl-C.

    Raises:
        UserError: the folder or the port cannot be used.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{root}: cannot be made ({error.strerror}). Give the folder of your runs.") from None
    is_local = host in LOOPBACK
    token = "" if is_local else secrets.token_urlsafe(24)
    app = create_app(root, token=token, hosts=LOOPBACK if is_local else (), keep_model_s=keep_model_s)
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", server_header=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    address = f"[{host}]" if ":" in host else host
    try:
        sockets = [config.bind_socket()]
    except (SystemExit, OSError):  # uvicorn has printed the reason
        raise UserError(f"--port={port}: cannot be used on {host}. Choose another with --port.") from None
    url = f"http://{address}:{sockets[0].getsockname()[1]}/{f'{token}/' if token else ''}"
    print(f"tinv ui shows {root.resolve()}\n{url}\nCtrl-C ends the page, not the runs.", flush=True)
    if not is_local:
        print("Everyone with this address can start and stop runs; the connection is not encrypted.", flush=True)
    if open_browser:
        webbrowser.open(url)
    asyncio.run(server.serve(sockets=sockets))


async def _user_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)
