"""What the page of a run shows, as JSON."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tinv.config.secrets import hide
from tinv.report.commands import generate_command, run_command
from tinv.report.downsample import curve_data
from tinv.report.run_page import embedding_stats, group_charts, list_facts
from tinv.runs import layout
from tinv.runs.image_grid import read_grid_labels
from tinv.runs.reader import Curve, RunReader
from tinv.runs.requests import Answer, list_answers
from tinv.ui.live_run import REWRITTEN_LINES, LiveRun
from tinv.ui.run_index import modified, summarize_run

MAX_CURVE = 1500
"""Points of a curve when the page opens; later points are all sent."""
MAX_ANSWERS = 8
"""The last answers of the run to requests."""
_LOG_BYTES = 12_000
_LOGS = (layout.LOG, "tinv.log")


def run_state(run: LiveRun, *, after: int | None = None) -> dict[str, Any]:
    """Returns the state of a run.

    Args:
        run: read just now.
        after: the last step that the page has; None sends whole curves, otherwise `first_step` says from where on.
    """
    log = next((text for name in _LOGS if (text := run.read_tail(name, _LOG_BYTES))), "")
    progress = run.progress
    return {
        **summarize_run(run.folder),
        "process": hide((run.status and run.status.process) or ""),
        "restarts": run.status.restarts if run.status else 0,
        "timeline": progress.timeline if progress else [],
        "memory_gb": progress.memory_gb if progress else {},
        "samples": [_concept_samples(run, folder) for folder in layout.concept_dirs(run.folder)],
        "requested": [
            _requested_sheet(run, step, path) for step, paths in run.requested_samples.items() for path in paths
        ],
        "answers": [_answer(answer) for answer in list_answers(run.folder)[-MAX_ANSWERS:]],
        "embedding_stats": embedding_stats(run),
        "scores": run.scores,
        "facts": list_facts(run),
        "log": hide(log),
        "files": [_file(run, path) for path in [*run.embeddings, *list_exports(run.folder)]],
        "checkpoints": [layout.checkpoint_step(path) for path in layout.list_checkpoints(run.folder)],
        "command": run_command(run),
        "generate": generate_command(run) if run.embeddings else "",
        "problems": [hide(problem) for problem in run.describe_problems()],
        **_curves(run.curves, after),
    }


def _curves(curves: Mapping[str, Curve], after: int | None) -> dict[str, Any]:
    """Returns the curves from `first_step` on. The last rows before `after` may have got new columns since."""
    charts = group_charts(curves)
    steps = sorted({step for curve in curves.values() for step, _ in curve})
    if after is None or not steps:
        first = None
        sent = {title: [curve_data(n, curves[n], MAX_CURVE) for n in names] for title, names in charts.items()}
    else:
        earlier = [step for step in steps if step <= after]
        first = earlier[-REWRITTEN_LINES] if len(earlier) >= REWRITTEN_LINES else steps[0]
        sent = {
            title: [curve_data(n, [p for p in curves[n] if p[0] >= first], len(steps)) for n in names]
            for title, names in charts.items()
        }
    last_values = {name: curve[-1][1] for name, curve in curves.items()}
    return {"charts": sent, "first_step": first, "last_step": steps[-1] if steps else None, "last_values": last_values}


def _concept_samples(run: RunReader, folder: Path) -> dict[str, Any]:
    """Returns the sheets of samples of a concept; the labels are those of the newest that can be read."""
    sheets = layout.list_samples(folder)
    labels = next((grid for path in reversed(sheets.values()) if (grid := read_grid_labels(path))), None)
    return {
        "concept": folder.name if folder != run.folder else "",
        "rows": [hide(text) for text in labels.rows] if labels else [],
        "columns": [hide(text) for text in labels.columns] if labels else [],
        "sheets": [
            {"step": step, "path": path.relative_to(run.folder).as_posix(), "version": round(modified(path) * 1000)}
            for step, path in sheets.items()
        ]
        if labels
        else [],
    }


def _requested_sheet(run: RunReader, step: int, path: Path) -> dict[str, Any]:
    labels = read_grid_labels(path)
    return {
        "step": step,
        "path": path.relative_to(run.folder).as_posix(),
        "version": round(modified(path) * 1000),
        "rows": [hide(text) for text in labels.rows] if labels else [],
        "columns": [hide(text) for text in labels.columns] if labels else [],
    }


def _answer(answer: Answer) -> dict[str, Any]:
    text = {"request": hide(str(answer.request)), "message": hide(answer.message)}
    return {"id": answer.id, "state": answer.state, "step": answer.step, **text}


def list_exports(run_dir: Path) -> list[Path]:
    """Returns the embeddings that were exported on request."""
    folders = [step for concept in layout.concept_dirs(run_dir) for step in (concept / layout.EXPORTS).glob("step_*")]
    return [path for folder in sorted(folders) for path in layout.list_embeddings(folder)]


def _file(run: RunReader, path: Path) -> dict[str, Any]:
    return {"name": path.relative_to(run.folder).as_posix(), "bytes": path.stat().st_size}


def changed_settings(run: RunReader) -> list[dict[str, str]]:
    """Returns the settings of a run that differ from those of a run without any choice, with both values."""
    own, default = _leaves(run.config or {}), _default_settings()
    missing = "not set"
    return [
        {"key": key, "value": hide(_text(value)), "default": _text(default[key]) if key in default else missing}
        for key, value in sorted(own.items())
        if default.get(key, missing) != value and not key.startswith("hydra.")
    ]


@cache
def _default_settings() -> dict[str, Any]:
    from omegaconf import OmegaConf

    from tinv.config.compose import Groups

    settings = OmegaConf.to_container(Groups().join([]))
    return _leaves(settings) if isinstance(settings, dict) else {}


def _leaves(settings: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            leaves |= _leaves(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
