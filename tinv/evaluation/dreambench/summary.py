"""Summarizes a benchmark: the mean scores of each subject and over subjects, for each of the compared settings."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinv.evaluation import results
from tinv.evaluation.results import Result
from tinv.evaluation.table import format_settings, format_table, group_by_settings
from tinv.evaluation.targets import EvaluationTarget
from tinv.runs.files import write_json

Evaluated = tuple[EvaluationTarget, Result]


def write_summary(
    path: Path, evaluated: Sequence[Evaluated], names: Mapping[str, str], protocol: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes a summary and returns its content.

    Args:
        path: the file.
        evaluated: targets with their evaluations.
        names: the names of all expected subjects, by token.
        protocol: the benchmark's settings.
    """
    targets, evaluations = zip(*evaluated, strict=True)
    summary = {
        "groups": [
            {"settings": settings, **_average(members, names)}
            for settings, members in group_by_settings(targets, evaluations)
        ],
        "protocol": protocol,
        "feature_extractors": evaluations[0]["feature_extractors"],
        "versions": evaluations[0]["versions"],
    }
    write_json(path, results.round_floats(summary))
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def format_summary(summary: Mapping[str, Any]) -> str:
    """Returns a table for each of the compared settings: a row for each subject and one for all."""
    lines = []
    for group in summary["groups"]:
        if len(summary["groups"]) > 1:
            lines.append(f"\n{format_settings(group['settings'])}")
        lines.append(format_table([*group["subjects"].items(), ("all", group)]))
        if group["missing"]:
            lines.append(f"missing: {', '.join(group['missing'])}; repeat the command to train them")
    if note := summary["feature_extractors"].get("note"):
        lines.append(f"note: {note}")
    return "\n".join(lines)


def _average(evaluated: Sequence[Evaluated], names: Mapping[str, str]) -> dict[str, Any]:
    """Returns the averages of a group. A subject with several runs, such as seeds, counts once."""
    subjects: dict[str, Any] = {}
    for token, name in names.items():
        own = [(target, result) for target, result in evaluated if target.token == token]
        if own:
            scores = results.average([result["scores"] for _, result in own])
            subjects[name] = {**scores, "runs": [str(target.folder) for target, _ in own]}
    return {
        **results.average([subject["scores"] for subject in subjects.values()]),
        "subjects": subjects,
        "missing": [name for name in names.values() if name not in subjects],
    }
