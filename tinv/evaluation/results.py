"""evaluation.json: numbers, how far they are apart, and what they were measured with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from tinv.evaluation.metrics.measure import NAMES, Scores
from tinv.runs.files import write_json
from tinv.runs.layout import EVALUATION
from tinv.runs.reader import RunReader

FORMULAE = 1
"""Grows when the same samples would get other numbers."""


def read(folder: Path) -> dict[str, Any] | None:
    """The evaluation in a folder, if there is one that is whole."""
    evaluation = RunReader(folder).evaluation or {}
    return evaluation if isinstance(evaluation.get("scores"), dict) else None


def write(folder: Path, result: Mapping[str, Any]) -> Path:
    """Put an evaluation into a folder."""
    write_json(folder / EVALUATION, rounded(result))
    return folder / EVALUATION


def rounded(tree: Any) -> Any:
    """Numbers with six digits behind the point: more is noise of the towers."""
    if isinstance(tree, Mapping):
        return {key: rounded(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [rounded(value) for value in tree]
    return round(tree, 6) if isinstance(tree, float) else tree


def macro(scores: Sequence[Scores]) -> dict[str, dict[str, Any]]:
    """Means over subjects, each counting once, with the sample's standard deviation and how many there are."""
    found: dict[str, dict[str, Any]] = {"scores": {}, "spread": {}, "count": {}}
    for name in dict.fromkeys([*NAMES, *(name for each in scores for name in each)]):
        values = [value for each in scores if (value := each.get(name)) is not None]
        found["scores"][name] = mean(values) if values else None
        found["spread"][name] = stdev(values) if len(values) > 1 else None
        found["count"][name] = len(values)
    return found
