"""plan.json: what a sweep set out to do, so that it can be taken up again later, and only as it was."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinv.errors import UserError
from tinv.runs.files import write_json
from tinv.runs.layout import PLAN
from tinv.runs.reader import SweepReader
from tinv.sweeps.points import NONE, SweepPoint, differences

SHOWN = 5
"""How many changed settings a refusal names."""


def write_plan(
    folder: Path,
    *,
    id: str,
    command: Sequence[str],
    config_dir: str | None,
    settings: Mapping[str, Any],
    points: Sequence[tuple[SweepPoint, Mapping[str, Any]]],
) -> None:
    """Write the plan.

    Args:
        folder: the sweep's.
        id: tells this sweep from all others.
        command: the overrides that were typed.
        config_dir: of `--config-dir`.
        settings: those that the points have in common; what a point has otherwise wins.
        points: each with what it has otherwise.
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
    """What the sweep in a folder set out to do.

    Raises:
        UserError: there is no sweep in it.
    """
    sweep = SweepReader(folder)
    if sweep.plan is None:
        problem = "does not exist" if not folder.is_dir() else sweep.problems.get(PLAN) or f"it has no {PLAN}"
        raise UserError(f"sweep.resume={folder}: {problem}. Give the folder of a sweep.")
    return sweep.plan


def numbered_as(before: Mapping[str, Any], points: Sequence[SweepPoint]) -> list[SweepPoint]:
    """The points with the numbers that they had, and new numbers for new ones.

    Raises:
        UserError: none of them was there before.
    """
    numbers = {row["key"]: row["point"] for row in before["points"]}
    if numbers and not any(point.key in numbers for point in points):
        swept = ", ".join(dict.fromkeys(name for row in before["points"] for name in row["swept"])) or "nothing"
        raise UserError(
            f"sweep.resume: that sweep has none of these points, it swept {swept}; repeat its command, or leave out "
            f"everything but sweep.resume"
        )
    new = max(numbers.values(), default=-1)
    found = []
    for point in points:
        if point.key not in numbers:
            new += 1
            numbers[point.key] = new
        found.append(replace(point, number=numbers[point.key]))
    return sorted(found, key=lambda point: point.number)


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Mapping[str, Any]]) -> None:
    """Make sure that the points that were there before are still the same.

    Args:
        before: the plan that was kept.
        now: by the points' keys, all settings of each.

    Raises:
        UserError: naming the settings that changed.
    """
    changed: dict[str, str] = {}
    for row in before["points"]:
        if row["key"] in now:
            was = {name: value for name, value in {**before["settings"], **row["differs"]}.items() if value != NONE}
            for name, value in differences(was, json.loads(json.dumps(now[row["key"]]))).items():
                changed.setdefault(name, f"{name} was {_shown(was.get(name, NONE))} and is {_shown(value)}")
    if changed:
        listed = list(changed.values())
        more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
        raise UserError(
            f"sweep.resume: the settings are not what they were: {'; '.join(listed[:SHOWN])}{more}; "
            f"set these as they were, or start a new sweep"
        )


def _shown(value: Any) -> str:
    return value if value == NONE else json.dumps(value, ensure_ascii=False)
