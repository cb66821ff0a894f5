"""The page of a single run."""

from pathlib import Path
from typing import Any

from tinv.config.secrets import hide
from tinv.report.commands import generate_command, python_code, run_command
from tinv.report.contact_sheet import ContactSheet, Source, make_album
from tinv.report.downsample import curve_data
from tinv.report.page import link, render
from tinv.report.training_images import training_thumbnails
from tinv.runs.layout import HYDRA_CONFIG, LOG
from tinv.runs.reader import RunReader

MOST_NUMBERS = 60_000
"""Of all curves together."""
LONGEST = 2000
_NUMBERS = ("norm", "norm_percentile", "cosine_to_start")
_LOG_BYTES, _SETTINGS_BYTES = 6000, 100_000
_CHARTS = (  # what is drawn together, under which heading; other numbers get a chart each
    ("Loss", "train/loss"),
    ("Loss", "val/loss"),
    ("Learning rate", "train/lr"),
    ("Length among the vocabulary's, percentile", "embedding/norm_percentile"),
    ("Cosine to the start", "embedding/cosine_to_start"),
    ("Length", "embedding/norm"),
)


def run_page(run: RunReader, *, output: Path, as_of: str) -> str:
    """The HTML.

    Args:
        run: what there is.
        output: where the page will be, for links from there.
        as_of: the time at which it was read.
    """
    album = make_album([Source(step, {step: sheets}) for step, sheets in run.samples.items()])
    charts = _charts(run)
    return render(
        "run.html",
        title=", ".join(run.placeholder_tokens) or run.folder.resolve().name,
        folder=str(run.folder),
        here=link(run.folder, output),
        as_of=as_of,
        run=run,
        status=run.status.status if run.status else str(run.card.get("status", "running")),
        reason=hide((run.status.reason if run.status else None) or str(run.card.get("reason", ""))),
        facts=_facts(run),
        vitals=_vitals(run),
        pictures=training_thumbnails(run.folder),
        album=album,
        charts=list(charts),
        generate=generate_command(run),
        code=python_code(run),
        command=run_command(run),
        commit=_commit(run),
        settings=hide(run.read_tail(HYDRA_CONFIG, _SETTINGS_BYTES)),
        log=hide(run.read_tail(LOG, _LOG_BYTES)),
        data={"kind": "run", "charts": charts, "frames": album.frames, "steps": [], "points": _steps(run, album)},
    )


def _steps(run: RunReader, album: ContactSheet) -> list[dict[str, Any]]:
    """The rows of the contact sheet, with the validation loss of that step."""
    losses = dict(run.curves.get("val/loss", []))
    return [
        {"number": row.key, "label": f"step {row.key}", "status": "done", "value": losses.get(row.key), "final": True}
        for row in album.rows
    ]


def _charts(run: RunReader) -> dict[str, list[dict[str, Any]]]:
    """The curves that belong together, those of single concepts (`val/loss/robot`) beside their mean.

    What was always 0, such as the count of black pictures, is left out.
    """
    found: dict[str, list[str]] = {}
    for name in sorted(run.curves, key=_place):
        if len(run.curves[name]) > 1 and any(value for _, value in run.curves[name]):
            found.setdefault(next((title for title, base in _CHARTS if _is_of(name, base)), name), []).append(name)
    each = max(40, min(LONGEST, MOST_NUMBERS // max(1, sum(map(len, found.values())))))
    return {title: [curve_data(name, run.curves[name], each) for name in names] for title, names in found.items()}


def _place(name: str) -> int:
    return next((i for i, (_, base) in enumerate(_CHARTS) if _is_of(name, base)), len(_CHARTS))


def _is_of(name: str, base: str) -> bool:
    return name == base or name.startswith(f"{base}/")


def _facts(run: RunReader) -> dict[str, Any]:
    """What the run is, in a line each."""
    card = run.card
    machine, model = run.card_section("machine"), run.card_section("model")
    vectors = [n for concept in run.concepts for n in _items(concept.get("num_vectors"))]
    told = {
        "word": ", ".join(run.placeholder_tokens),
        "started from": ", ".join(str(concept.get("initializer_token") or "nothing") for concept in run.concepts),
        "kind": ", ".join(str(concept.get("kind", "object")) for concept in run.concepts),
        "vectors": ", ".join(f"{n} ({name})" for name, n in vectors),
        "model": model.get("name"),
        "pictures": len(card["images"]) if isinstance(card.get("images"), list) else None,
        "batch and rate": card.get("batch_and_rate"),
        "precision": card.get("precision"),
        "seed": card.get("seed"),
        "device": machine.get("device_name"),
        "begun": card.get("started"),
    }
    return {name: hide(str(value)) for name, value in told.items() if value not in (None, "")}


def _vitals(run: RunReader) -> list[dict[str, Any]]:
    """For each concept its nearest words and the numbers that were measured last."""
    found = _items(run.card_section("result").get("embedding_stats"))
    vitals = []
    for name, near in found:
        base, _, concept = str(name).partition("/")
        if base == "nearest":
            suffix = f"/{concept}" if concept else ""
            numbers = {key: run.last_value(f"embedding/{key}{suffix}") for key in _NUMBERS}
            words = {str(vector): list(map(str, words)) for vector, words in _items(near) if isinstance(words, list)}
            vitals.append({"concept": concept, "nearest": words, **numbers})
    return vitals


def _items(found: Any) -> list[tuple[Any, Any]]:
    return list(found.items()) if isinstance(found, dict) else []


def _commit(run: RunReader) -> str:
    git = run.card_section("git")
    if not git.get("commit"):
        return ""
    return f"{str(git['commit'])[:12]}{', with changes that were not committed' if git.get('dirty') else ''}"
