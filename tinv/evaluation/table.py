"""Formats evaluations as a table: a row for each target, and means over the targets with the same settings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinv.evaluation import results
from tinv.evaluation.results import Result
from tinv.evaluation.targets import EvaluationTarget
from tinv.runs.layout import EVALUATION
from tinv.runs.sweep_point import find_sweep_point
from tinv.runs.text_table import align_columns

_REPETITIONS = {"seed", "experiment", "name", "subject", "concept", "concept.name", "concept.placeholder_token"}
_REPETITIONS |= {"data", "data.folder"}
"""Settings that a sweep varies to repeat a measurement, with another seed or on another concept."""
COLUMNS = {
    "clip_i": "CLIP-I",
    "clip_t": "CLIP-T",
    "clip_t_bare": "CLIP-T bare",
    "dino": "DINO",
    "diversity": "diversity",
    "nearest": "nearest",
    "copies": "copies",
    "score": "score",
}


def swept_settings(target: EvaluationTarget) -> dict[str, str]:
    """Returns the settings of the target's run that its sweep compares."""
    point = find_sweep_point(target.path)
    swept = point.swept if point else {}
    return {name: value for name, value in swept.items() if name.lstrip("+") not in _REPETITIONS}


def group_by_settings(
    targets: Sequence[EvaluationTarget], evaluations: Sequence[Result]
) -> list[tuple[dict[str, str], list[tuple[EvaluationTarget, Result]]]]:
    """Returns the targets with their evaluations, grouped by the settings that their sweep compares."""
    groups: dict[tuple[tuple[str, str], ...], list[tuple[EvaluationTarget, Result]]] = {}
    for target, result in zip(targets, evaluations, strict=True):
        groups.setdefault(tuple(swept_settings(target).items()), []).append((target, result))
    return [(dict(settings), members) for settings, members in groups.items()]


def format_settings(settings: Mapping[str, str]) -> str:
    """Returns `optimizer.lr=1e-3 loss=debiased`."""
    return " ".join(f"{name}={value}" for name, value in settings.items()) or "all"


def format_table(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Returns a table; each row is a label with `scores`, and optionally `std` and `count`."""
    columns = dict.fromkeys([*COLUMNS, *(name for _, row in rows for name in row["scores"])])
    names = [name for name in columns if any(row["scores"].get(name) is not None for _, row in rows)]
    lines = [[label, *(_format_cell(row, name) for name in names)] for label, row in rows]
    return align_columns([["", *(COLUMNS.get(name, name) for name in names)], *lines])


def print_result(target: EvaluationTarget, result: Result, is_new: bool) -> None:
    """Prints the file of a finished evaluation."""
    print(f"{target.folder / EVALUATION}{'' if is_new else ' (unchanged)'}", flush=True)


def print_summary(targets: Mapping[Path, Sequence[EvaluationTarget]], evaluations: Sequence[Result]) -> None:
    """Writes the means of each path with several targets, and prints a table of all.

    Args:
        targets: by path.
        evaluations: of all the targets, in the same order.
    """
    by_folder: dict[Path, Result] = {}
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for target, result in zip([each for of_path in targets.values() for each in of_path], evaluations, strict=True):
        by_folder[target.folder] = result
        point = find_sweep_point(target.path)
        rows.append((f"{target.token} {point.label if point else ''}".strip(), result))
    for path, of_path in targets.items():
        if summary := write_summary(path, of_path, [by_folder[target.folder] for target in of_path]):
            print(path / EVALUATION)
            repeated = [group for group in summary["groups"] if len(group["targets"]) > 1]
            rows += [(f"mean of {format_settings(group['settings'])}", group) for group in repeated]
    print(format_table(rows))
    notes = [result["feature_extractors"].get("note") for result in evaluations]
    for note in dict.fromkeys(filter(None, notes)):
        print(f"note: {note}")


def write_summary(
    path: Path, targets: Sequence[EvaluationTarget], evaluations: Sequence[Result]
) -> dict[str, Any] | None:
    """Writes the means of a folder with several targets and returns them; None for a single target."""
    if len(targets) < 2 or not path.is_dir():
        return None
    groups = [
        {
            "settings": settings,
            "targets": [str(target.folder) for target, _ in members],
            **results.average([result["scores"] for _, result in members]),
        }
        for settings, members in group_by_settings(targets, evaluations)
    ]
    summary = {**results.average([result["scores"] for result in evaluations]), "groups": groups}
    extractors = [result["feature_extractors"] for result in evaluations]
    if all(each == extractors[0] for each in extractors):
        summary["feature_extractors"] = extractors[0]
    results.write_result(path, summary)
    return summary


def _format_cell(row: Mapping[str, Any], name: str) -> str:
    value = row["scores"].get(name)
    if value is None:
        return "-"
    std, count = row.get("std", {}).get(name), row.get("count", {}).get(name)
    deviation = f" ± {std:.3f}" if std is not None else ""
    return f"{value:.3f}{deviation}{f' ({count})' if count and count > 1 else ''}"
