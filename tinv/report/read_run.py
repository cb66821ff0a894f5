"""What stands in a run's folder, as far as it can be read: any file may be missing, half-written or not ours."""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Curve = list[tuple[int, float]]
"""A number by step."""


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file, empty if there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_lines(path: Path) -> list[str]:
    """The texts of a list in a YAML file, empty if there is none."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return []
    return [str(line) for line in found] if isinstance(found, list) else []


def read_text(path: Path, *, most: int) -> str:
    """A text file, or as much of its end as is asked for; empty if there is none."""
    try:
        with path.open("rb") as file:
            start = max(0, path.stat().st_size - most)
            file.seek(start)
            text = file.read(most).decode("utf-8", errors="replace")
    except OSError:
        return ""
    return text if not start else "... " + text.partition("\n")[2]


def read_curves(path: Path) -> dict[str, Curve]:
    """The columns of metrics.csv. A last line without its end is left out, for its last number may be cut off."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    curves: dict[str, Curve] = {}
    try:
        for row in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
            step = _number(row.pop("step", None))
            if step is not None:
                for name, value in _numbers(row):
                    curves.setdefault(name, []).append((int(step), value))
    except csv.Error:
        pass
    return curves


def read_evaluation(path: Path) -> dict[str, float]:
    """The numbers in evaluation.json under their names; those of inner objects as `outer.inner`.

    Where there are `scores`, as `tinv evaluate` writes them, they alone.
    """

    def below(tree: Any, name: str) -> Iterator[tuple[str, float]]:
        if isinstance(tree, dict):
            for key, value in tree.items():
                yield from below(value, f"{name}.{key}" if name else str(key))
        elif isinstance(tree, int | float) and not isinstance(tree, bool) and math.isfinite(tree):
            yield name, float(tree)

    found = read_object(path)
    return dict(below(found["scores"] if isinstance(found.get("scores"), dict) else found, ""))


def _numbers(row: dict[Any, Any]) -> Iterator[tuple[str, float]]:
    for name, text in row.items():
        value = _number(text)
        if isinstance(name, str) and name and value is not None:
            yield name, value


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
