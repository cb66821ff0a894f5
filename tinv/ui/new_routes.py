"""The page that prepares a run: images, settings, checks, the command, and the start."""

import asyncio
import secrets
from pathlib import Path
from subprocess import Popen
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from tinv.concept import slug
from tinv.data.images import CAPTION_SUFFIXES
from tinv.errors import UserError
from tinv.runs.layout import LOG
from tinv.runs.reader import RunReader
from tinv.ui.image_sets import ChosenImage, keep_for_run
from tinv.ui.json_body import read_object
from tinv.ui.page_template import render
from tinv.ui.site import Site, site_of
from tinv.ui.training_command import build_overrides, group_options, record_failure, shown_command, start_run

_POLL_S = 2.0
_RUN_LOG_BYTES = 4000


async def _page(request: Request) -> Response:
    checker = site_of(request).checker
    if not checker.is_running:  # the first check need not wait for imports
        site_of(request).keep(asyncio.create_task(checker.call("load_libraries")))
    options = await run_in_threadpool(group_options)
    return render(request, "new", title="New", data={"options": options}, options=options)


async def _create_set(request: Request) -> Response:
    return JSONResponse({"id": await run_in_threadpool(site_of(request).image_sets.create)})


async def _upload(request: Request) -> Response:
    """Receives the bytes of one file."""
    site, images = site_of(request), site_of(request).image_sets.find(request.path_params["set"])
    draft = images.folder / f".{secrets.token_hex(8)}"
    try:
        with draft.open("wb") as file:
            async for chunk in request.stream():
                await run_in_threadpool(file.write, chunk)
        async with site.upload_lock:
            return JSONResponse(await run_in_threadpool(images.add, request.path_params["name"], draft))
    except ClientDisconnect:
        raise UserError("The upload was cut off, or is larger than it said.") from None
    finally:
        draft.unlink(missing_ok=True)


async def _add_folder(request: Request) -> Response:
    site, images = site_of(request), site_of(request).image_sets.find(request.path_params["set"])
    folder = str((await read_object(request)).get("folder") or "").strip()
    if not folder:
        raise UserError("Name a folder of this machine.")
    async with site.upload_lock:
        await run_in_threadpool(images.add_folder, Path(folder))
    return JSONResponse(images.images)


def _image(request: Request) -> Response:
    images = site_of(request).image_sets.find(request.path_params["set"])
    path = images.copy_path(request.path_params["name"])
    return FileResponse(path, media_type="image/webp", headers={"cache-control": "private, max-age=86400"})


async def _command(request: Request) -> Response:
    """Answers with the command, at once."""
    site = site_of(request)
    overrides = await run_in_threadpool(_overrides, site, await read_object(request))
    return JSONResponse({"overrides": overrides, "command": shown_command(overrides, site.runs.root)})


async def _check(request: Request) -> Response:
    """Answers with the problems and warnings of preflight."""
    site = site_of(request)
    overrides = await run_in_threadpool(_overrides, site, await read_object(request))
    return JSONResponse(await site.checker.call("check", overrides=overrides))


async def _preview(request: Request) -> Response:
    """Answers with the images as they are trained on."""
    site = site_of(request)
    overrides = await run_in_threadpool(_overrides, site, await read_object(request))
    return JSONResponse(await site.checker.call("preview", overrides=overrides))


async def _words(request: Request) -> Response:
    """Answers with initializer tokens that CLIP proposes."""
    site = site_of(request)
    overrides = await run_in_threadpool(_overrides, site, await read_object(request))
    return JSONResponse(await site.checker.call("words", overrides=overrides))


async def _start(request: Request) -> Response:
    """Starts the run if it has no problems."""
    site, body = site_of(request), await read_object(request)
    overrides = await run_in_threadpool(_overrides, site, body)
    checked = await site.checker.call("check", overrides=overrides)
    if checked["problems"]:
        raise UserError("\n".join(checked["problems"]))
    if images := _arrange(site, body):
        keep_for_run(images)
    folder, process = await run_in_threadpool(start_run, overrides, root=site.runs.root, name=_name(body))
    site.keep(asyncio.create_task(_watch(folder, process)))
    return JSONResponse({"run": site.runs.id_of(folder)})


async def _watch(folder: Path, process: "Popen[bytes]") -> None:
    """Waits for the end of a run, and records it if the run could not."""
    while (exit_code := process.poll()) is None:
        await asyncio.sleep(_POLL_S)
    run = RunReader(folder)
    if exit_code and run.status and run.status.status == "waiting":
        record_failure(folder, exit_code, run.read_tail(LOG, _RUN_LOG_BYTES))


def _overrides(site: Site, body: dict[str, Any]) -> list[str]:
    form, folder = body.get("form"), _arrange(site, body)
    if not isinstance(form, dict):
        raise UserError("The page sent something unreadable; load it again.")
    has_captions = folder is not None and any(folder.glob(f"*{CAPTION_SUFFIXES[0]}"))
    return build_overrides({**form, "has_captions": has_captions, "name": _name(body)}, images=folder)


def _arrange(site: Site, body: dict[str, Any]) -> Path | None:
    """Returns the folder of the chosen images; None if there are none."""
    chosen = body.get("images")
    if not isinstance(chosen, list) or not all(isinstance(item, dict) for item in chosen):
        raise UserError("The page sent something unreadable; load it again.")
    images = [ChosenImage(str(item.get("name")), str(item.get("caption") or "")) for item in chosen]
    return site.image_sets.find(str(body.get("set"))).arrange(images) if images else None


def _name(body: dict[str, Any]) -> str:
    """Returns the name of the run: that of the form, or the token's."""
    form = body.get("form")
    form = form if isinstance(form, dict) else {}
    token = str(form.get("placeholder_token") or "").strip()
    return str(form.get("name") or "").strip() or (slug(token) if token else "")


ROUTES = [
    Route("/new", _page),
    Route("/api/images", _create_set, methods=["POST"]),
    Route("/api/images/{set}/{name}", _upload, methods=["POST"]),
    Route("/api/folder/{set}", _add_folder, methods=["POST"]),
    Route("/image/{set}/{name}", _image),
    Route("/api/command", _command, methods=["POST"]),
    Route("/api/check", _check, methods=["POST"]),
    Route("/api/preview", _preview, methods=["POST"]),
    Route("/api/words", _words, methods=["POST"]),
    Route("/api/start", _start, methods=["POST"]),
]
