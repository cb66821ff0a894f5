"""plan.json: the plan of a sweep in its folder, with which a later command resumes it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinv.errors import UserError
from tinv.runs.files import write_json
from tinv.runs.layout import PLAN
from tinv.runs.reader import SweepReader
from tinv.sweeps.points import MISSING, SweepPoint, differences

MOST_LISTED = 5
"""How many changed settings an error message lists."""


def write_plan(
    folder: Path,
    *,
    id: str,
    command: Sequence[str],
    config_dir: str | None,
    settings: Mapping[str, Any],
    points: Sequence[tuple[SweepPoint, Mapping[str, Any]]],
) -> None:
    """Writes the plan.

    Args:
        folder: the sweep's folder.
        id: identifies the sweep.
        command: the overrides of the command.
        config_dir: the value of `--config-dir`.
        settings: the settings that the points share.
        points: each point with the settings that it has differently.
    """
    rows = [
        {"point": point.number, "key": point.key, "swept": dict(point.swept), "differs": dict(differs)}
        for point, differs in points
    ]
    write_json(
        folder / PLAN,
        {"id": id, "command": list(command), "config_dir": config_dir, "settings": dict(settings), "points": rows},
    )


def read_plan(folder: Path) -> dict[str, Any]:
    """Returns the plan of the sweep in a folder.

    Raises:
        UserError: the folder holds no sweep.
    """
    sweep = SweepReader(folder)
    if sweep.plan is None:
        problem = (
            "the folder does not exist" if not folder.is_dir() else sweep.problems.get(PLAN) or f"it has no {PLAN}"
        )
        raise UserError(f"sweep.resume={folder}: {problem}. Give the folder of a sweep.")
    return sweep.plan


def renumber(previous: Mapping[str, Any], points: Sequence[SweepPoint]) -> list[SweepPoint]:
    """Gives the points the numbers that they have in the previous plan, and new points the numbers after these.

    Raises:
        UserError: the previous plan has none of the points.
    """
    numbers = {row["key"]: row["point"] for row in previous["points"]}
    if numbers and not any(point.key in numbers for point in points):
        swept = ", ".join(dict.fromkeys(name for row in previous["points"] for name in row["swept"])) or "nothing"
        raise UserError(
            f"sweep.resume: that sweep has none of these points; it swept {swept}. "
            f"Repeat its command, or give sweep.resume alone."
        )
    for point in points:
        numbers.setdefault(point.key, max(numbers.values(), default=-1) + 1)
    return sorted((replace(point, number=numbers[point.key]) for point in points), key=lambda point: point.number)


def check_unchanged(previous: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that the points of the previous plan still have the same settings.

    Args:
        previous: the plan in the sweep's folder.
        settings: the settings of each point of this command, by its key.

    Raises:
        UserError: names the settings that changed.
    """
    changed: dict[str, str] = {}
    for row in previous["points"]:
        if row["key"] in settings:
            old = {
                name: value for name, value in {**previous["settings"], **row["differs"]}.items() if value != MISSING
            }
            for name, value in differences(old, json.loads(json.dumps(settings[row["key"]]))).items():
                changed.setdefault(name, f"{name} was {_format(old.get(name, MISSING))} and is {_format(value)}")
    if changed:
        listed = list(changed.values())
        more = f" and {len(listed) - MOST_LISTED} more" if len(listed) > MOST_LISTED else ""
        raise UserError(
            f"sweep.resume: settings changed: {'; '.join(listed[:MOST_LISTED])}{more}. "
            f"Set the old values, or start a new sweep."
        )


def _format(value: Any) -> str:
    return value if value == MISSING else json.dumps(value, ensure_ascii=False)
