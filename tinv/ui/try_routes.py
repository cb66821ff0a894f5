"""The page that draws with learned words."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tinv.errors import UserError, require_minimum
from tinv.runs.reader import RunReader
from tinv.ui.json_body import read_object
from tinv.ui.page_template import render
from tinv.ui.site import Site, site_of

MAX_IMAGES = 64
_MAX_PROMPT, _MAX_SAMPLER_STEPS, _MAX_WORDS = 1000, 200, 8


def _page(request: Request) -> Response:
    return render(request, "try", title="Try it", data={"words": _list_words(site_of(request))})


def _list_words(site: Site) -> list[dict[str, Any]]:
    """Returns the runs with an embedding, newest first."""
    runs = [run for run in site.runs.summaries() if run["kind"] == "run"]
    return [
        {key: run[key] for key in ("id", "title", "model", "sheet", "sheet_version")}
        for run in runs
        if RunReader(site.runs.root / run["id"]).embeddings
    ]


async def _draw(request: Request) -> Response:
    """Answers with a line of JSON for each image, when it is drawn."""
    site = site_of(request)
    arguments = await run_in_threadpool(_arguments, site, await read_object(request))

    async def lines() -> AsyncIterator[bytes]:
        try:
            async for part in site.painter.stream("draw", **arguments):
                yield json.dumps(part).encode() + b"\n"
        except UserError as error:
            yield json.dumps({"state": "error", "error": str(error)}).encode() + b"\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson", headers={"cache-control": "no-store"})


async def _free(request: Request) -> Response:
    """Ends the process with the model."""
    site_of(request).painter.stop()
    return JSONResponse({})


def _arguments(site: Site, body: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `worker_operations.draw`.

    Raises:
        UserError: one is out of range.
    """
    words, prompts, seeds = (body.get(key) for key in ("words", "prompts", "seeds"))
    if not (isinstance(words, list) and isinstance(prompts, list) and isinstance(seeds, list)):
        raise UserError("The page sent something unreadable; load it again.")
    texts = [text for prompt in prompts if (text := str(prompt).strip())]
    if not (words and texts and seeds):
        raise UserError("Choose a word, and give a prompt and a seed.")
    if len(texts) * len(seeds) > MAX_IMAGES or len(words) > _MAX_WORDS or max(map(len, texts)) > _MAX_PROMPT:
        raise UserError(f"At most {MAX_IMAGES} images, {_MAX_WORDS} words, and prompts of {_MAX_PROMPT} characters.")
    negative = body.get("negative_prompt")
    steps = _number(body, "num_inference_steps", maximum=_MAX_SAMPLER_STEPS)
    require_minimum("Steps", steps, 1)
    return {
        "embeddings": [str(_embedding_folder(site, word)) for word in words],
        "strengths": [_number(word, "strength", maximum=10) or 1.0 for word in words],
        "prompts": texts,
        "seeds": [_seed(seed) for seed in seeds],
        "num_inference_steps": None if steps is None else int(steps),
        "guidance_scale": _number(body, "guidance_scale", maximum=1000),
        "negative_prompt": str(negative)[:_MAX_PROMPT] if negative else None,
    }


def _embedding_folder(site: Site, word: Any) -> Path:
    return site.runs.find(str(word.get("id") if isinstance(word, dict) else ""))


def _seed(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise UserError("A seed is a whole number of 0 or more.")
    return value


def _number(body: dict[str, Any], key: str, *, maximum: float) -> float | None:
    value = body.get(key)
    if value is None or (type(value) in (int, float) and 0 <= value <= maximum):
        return value
    raise UserError(f"{key.replace('_', ' ')}: a number from 0 to {maximum:g}.")


ROUTES = [
    Route("/try", _page),
    Route("/api/draw", _draw, methods=["POST"]),
    Route("/api/free", _free, methods=["POST"]),
]
