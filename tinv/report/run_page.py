"""The page of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinv.config.secrets import hide
from tinv.report.commands import generate_command, python_code, run_command
from tinv.report.contact_sheet import ContactSheet, SheetSource, make_contact_sheet
from tinv.report.downsample import curve_data
from tinv.report.page import link, render
from tinv.report.thumbnails import requested_thumbnails, training_thumbnails
from tinv.runs.layout import HYDRA_CONFIG, LOG
from tinv.runs.reader import Curve, RunReader

MAX_NUMBERS = 60_000
"""Of all curves together."""
MAX_CURVE = 2000
_EMBEDDING_STATS = ("norm", "norm_percentile", "cosine_to_start")
_LOG_BYTES, _CONFIG_BYTES = 6000, 100_000
_CHARTS = (  # metrics that share a chart; any other metric has its own
    ("Loss", "train/loss"),
    ("Loss", "val/loss"),
    ("Learning rate", "train/lr"),
    ("Percentile of the norm in the vocabulary", "embedding/norm_percentile"),
    ("Cosine to the initial vectors", "embedding/cosine_to_start"),
    ("Norm", "embedding/norm"),
)


def run_page(run: RunReader, *, output: Path, as_of: str) -> str:
    """Returns the HTML page of a run; `output` is its path, for relative links, and `as_of` the time of reading."""
    sheet = make_contact_sheet([SheetSource(step, {step: paths}) for step, paths in run.samples.items()])
    charts, status = _charts(run), run.status
    return render(
        "run.html",
        title=", ".join(run.placeholder_tokens) or run.folder.resolve().name,
        folder=str(run.folder),
        folder_link=link(run.folder, output),
        as_of=as_of,
        run=run,
        status=status.status if status else str(run.card.get("status", "running")),
        reason=hide((status and status.reason) or str(run.card.get("reason", ""))),
        facts=list_facts(run),
        embedding_stats=embedding_stats(run),
        training_images=training_thumbnails(run.folder),
        sheet=sheet,
        requested_samples=requested_thumbnails(run),
        charts=list(charts),
        generate=generate_command(run),
        code=python_code(run),
        command=run_command(run),
        commit=_commit(run),
        config=hide(run.read_tail(HYDRA_CONFIG, _CONFIG_BYTES)),
        log=hide(run.read_tail(LOG, _LOG_BYTES)),
        data={"kind": "run", "charts": charts, "frames": sheet.frames, "steps": [], "points": _steps(run, sheet)},
    )


def _steps(run: RunReader, sheet: ContactSheet) -> list[dict[str, Any]]:
    """Returns the rows of the contact sheet, with the validation loss of their steps."""
    losses = dict(run.curves.get("val/loss", []))
    return [
        {"number": row.key, "label": f"step {row.key}", "status": "done", "value": losses.get(row.key), "final": True}
        for row in sheet.rows
    ]


def _charts(run: RunReader) -> dict[str, list[dict[str, Any]]]:
    """Returns the curves of each chart."""
    names = group_charts(run.curves)
    max_length = max(40, min(MAX_CURVE, MAX_NUMBERS // max(1, sum(map(len, names.values())))))
    return {title: [curve_data(name, run.curves[name], max_length) for name in group] for title, group in names.items()}


def group_charts(curves: Mapping[str, Curve]) -> dict[str, list[str]]:
    """Returns the names of the metrics in each chart; those of one concept (`val/loss/robot`) are beside their mean.

    Leaves out metrics that were always 0, such as the number of black samples.
    """
    names: dict[str, list[str]] = {}
    for name in sorted(curves, key=_chart_order):
        if len(curves[name]) > 1 and any(value for _, value in curves[name]):
            names.setdefault(next((title for title, base in _CHARTS if _is_of(name, base)), name), []).append(name)
    return names


def _chart_order(name: str) -> int:
    return next((i for i, (_, base) in enumerate(_CHARTS) if _is_of(name, base)), len(_CHARTS))


def _is_of(name: str, base: str) -> bool:
    return name == base or name.startswith(f"{base}/")


def list_facts(run: RunReader) -> dict[str, str]:
    """Returns the main settings of the run, from run.json."""
    card, concepts = run.card, run.concepts
    vectors = [item for concept in concepts for item in _items(concept.get("num_vectors"))]
    facts = {
        "placeholder token": ", ".join(run.placeholder_tokens),
        "initializer token": ", ".join(str(concept.get("initializer_token") or "none") for concept in concepts),
        "kind": ", ".join(str(concept.get("kind", "object")) for concept in concepts),
        "vectors": ", ".join(f"{count} ({encoder})" for encoder, count in vectors),
        "model": run.card_section("model").get("name"),
        "training images": len(card["images"]) if isinstance(card.get("images"), list) else None,
        "batch and learning rate": card.get("batch_and_rate"),
        "precision": card.get("precision"),
        "seed": card.get("seed"),
        "device": run.card_section("machine").get("device_name"),
        "started": card.get("started"),
    }
    return {name: hide(str(value)) for name, value in facts.items() if value not in (None, "")}


def embedding_stats(run: RunReader) -> list[dict[str, Any]]:
    """Returns the nearest tokens and the last statistics of each concept."""
    stats = []
    for name, nearest in _items(run.card_section("result").get("embedding_stats")):
        base, _, concept = str(name).partition("/")
        if base == "nearest":
            suffix = f"/{concept}" if concept else ""
            values = {key: run.last_value(f"embedding/{key}{suffix}") for key in _EMBEDDING_STATS}
            tokens = {str(key): list(map(str, near)) for key, near in _items(nearest) if isinstance(near, list)}
            stats.append({"concept": concept, "nearest": tokens, **values})
    return stats


def _items(content: Any) -> list[tuple[Any, Any]]:
    return list(content.items()) if isinstance(content, dict) else []


def _commit(run: RunReader) -> str:
    git = run.card_section("git")
    if not git.get("commit"):
        return ""
    return f"{str(git['commit'])[:12]}{', with uncommitted changes' if git.get('dirty') else ''}"
