"""The page of a single run."""

from pathlib import Path
from typing import Any

from tinv.report.album import Album, Source, make_album
from tinv.report.commands import generate_command, python_code, run_command
from tinv.report.page import link, render
from tinv.report.reading import read_text
from tinv.report.run import Run
from tinv.report.thinning import curve_data
from tinv.report.training import training_thumbnails
from tinv.secret import hide

MOST_NUMBERS = 60_000
"""Of all curves together."""
LONGEST = 2000
_LOG_BYTES, _SETTINGS_BYTES = 6000, 100_000
_CHARTS = {  # what is drawn together, under which heading; other numbers get a chart each
    "Loss": ("train/loss", "val/loss"),
    "Learning rate": ("train/lr",),
    "Length among the vocabulary's, percentile": ("embedding/norm_percentile",),
    "Cosine to the start": ("embedding/cosine_to_start",),
    "Length": ("embedding/norm",),
}


def run_page(run: Run, *, output: Path, as_of: str) -> str:
    """The HTML.

    Args:
        run: what there is.
        output: where the page will be, for links from there.
        as_of: the time at which it was read.
    """
    album = make_album([Source(step, {step: sheet}) for step, sheet in run.sheets.items()])
    charts = _charts(run)
    return render(
        "run.html",
        title=", ".join(run.placeholders) or run.folder.resolve().name,
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
        settings=hide(read_text(run.folder / ".hydra" / "config.yaml", most=_SETTINGS_BYTES)),
        log=hide(read_text(run.folder / "log.txt", most=_LOG_BYTES)),
        data={"kind": "run", "charts": charts, "frames": album.frames, "steps": [], "points": _steps(run, album)},
    )


def _steps(run: Run, album: Album) -> list[dict[str, Any]]:
    """The rows of the contact sheet, with the validation loss of that step."""
    losses = dict(run.curves.get("val/loss", []))
    return [
        {"number": row.key, "label": f"step {row.key}", "status": "done", "value": losses.get(row.key), "final": True}
        for row in album.rows
    ]


def _charts(run: Run) -> dict[str, list[dict[str, Any]]]:
    together = {name for names in _CHARTS.values() for name in names}
    groups = {**_CHARTS, **{name: (name,) for name in run.curves if name not in together}}
    found = {title: [name for name in names if len(run.curves.get(name, [])) > 1] for title, names in groups.items()}
    each = max(40, min(LONGEST, MOST_NUMBERS // max(1, sum(map(len, found.values())))))
    return {
        title: [curve_data(name, run.curves[name], each) for name in names] for title, names in found.items() if names
    }


def _facts(run: Run) -> dict[str, Any]:
    """What the run is, in a line each."""
    card = run.card
    concept, machine, model = run.told("concept"), run.told("machine"), run.told("model")
    vectors = concept.get("num_vectors")
    told = {
        "word": ", ".join(run.placeholders),
        "started from": concept.get("initializer"),
        "kind": concept.get("kind"),
        "vectors": ", ".join(f"{n} ({name})" for name, n in vectors.items()) if isinstance(vectors, dict) else None,
        "model": model.get("name"),
        "pictures": len(card["images"]) if isinstance(card.get("images"), list) else None,
        "batch and rate": card.get("pace"),
        "precision": card.get("precision"),
        "seed": card.get("seed"),
        "device": machine.get("device_name"),
        "begun": card.get("started"),
    }
    return {name: hide(str(value)) for name, value in told.items() if value not in (None, "")}


def _vitals(run: Run) -> dict[str, Any]:
    found = run.told("result").get("vitals")
    near = found.get("nearest") if isinstance(found, dict) else None
    near = near if isinstance(near, dict) else {}
    words = {str(vector): list(map(str, words)) for vector, words in near.items() if isinstance(words, list)}
    names = ("norm", "norm_percentile", "cosine_to_start")
    return {"nearest": words, **{name: run.latest(f"embedding/{name}") for name in names}}


def _commit(run: Run) -> str:
    git = run.told("git")
    if not git.get("commit"):
        return ""
    return f"{str(git['commit'])[:12]}{', with changes that were not committed' if git.get('dirty') else ''}"
