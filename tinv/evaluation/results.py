"""Reads and writes evaluation.json: the scores, and the settings and models that determine them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from tinv.evaluation.metrics.measure import NAMES, Scores
from tinv.runs.files import write_json
from tinv.runs.layout import EVALUATION
from tinv.runs.reader import RunReader

METRICS_VERSION = 1
"""Increases when the same samples would get other scores."""

Result = dict[str, Any]
"""The content of evaluation.json."""


def read_result(folder: Path) -> Result | None:
    """Returns the evaluation in a folder, None if there is none or it is damaged."""
    result = RunReader(folder).evaluation or {}
    return result if isinstance(result.get("scores"), dict) else None


def write_result(folder: Path, result: Mapping[str, Any]) -> Path:
    """Writes an evaluation into a folder; returns the file."""
    write_json(folder / EVALUATION, round_floats(result))
    return folder / EVALUATION


def round_floats(tree: Any) -> Any:
    """Returns the tree with its floats rounded to six decimals: more is noise of the feature extractors."""
    if isinstance(tree, Mapping):
        return {key: round_floats(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [round_floats(value) for value in tree]
    return round(tree, 6) if isinstance(tree, float) else tree


def average(scores: Sequence[Scores]) -> dict[str, dict[str, Any]]:
    """Returns the mean of each score with equal weights, its sample standard deviation, and the number of values."""
    averages: dict[str, dict[str, Any]] = {"scores": {}, "std": {}, "count": {}}
    for name in dict.fromkeys([*NAMES, *(name for each in scores for name in each)]):
        values = [value for each in scores if (value := each.get(name)) is not None]
        averages["scores"][name] = mean(values) if values else None
        averages["std"][name] = stdev(values) if len(values) > 1 else None
        averages["count"][name] = len(values)
    return averages
