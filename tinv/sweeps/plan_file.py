"""plan.json: the plan of a sweep in its folder, with which a later command resumes it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tinv.config.restricted_settings import command_problems, is_trusted_folder, typed_settings
from tinv.errors import UserError
from tinv.runs.files import write_json
from tinv.runs.layout import PLAN
from tinv.runs.reader import SweepReader
from tinv.runs.typed import to_type
from tinv.sweeps.points import MISSING, SweepPoint, differences

MOST_LISTED = 5
"""How many changed settings an error message lists."""


@dataclass(frozen=True)
class PlannedPoint:
    """A point in plan.json."""

    point: int
    """Its number."""
    key: str
    """See `SweepPoint.key`."""
    swept: dict[str, str]
    """The swept settings and their values."""
    differs: dict[str, Any]
    """The settings that it has differently from the shared ones."""


@dataclass(frozen=True)
class Plan:
    """The content of plan.json."""

    id: str
    """Identifies the sweep."""
    command: list[str]
    """The overrides of the command."""
    config_dir: str | None
    """The value of `--config-dir`."""
    settings: dict[str, Any]
    """The settings that the points share."""
    points: list[PlannedPoint]


def write_plan(
    folder: Path,
    *,
    id: str,
    command: Sequence[str],
    config_dir: str | None,
    settings: Mapping[str, Any],
    points: Sequence[tuple[SweepPoint, Mapping[str, Any]]],
) -> None:
    """Writes the plan; see `Plan` for the arguments.

    Args:
        folder: the sweep's folder.
        points: each point with the settings that it has differently.
    """
    rows = [PlannedPoint(point.number, point.key, dict(point.swept), dict(differs)) for point, differs in points]
    write_json(folder / PLAN, asdict(Plan(id, list(command), config_dir, dict(settings), rows)))


def read_plan(folder: Path) -> Plan:
    """Returns the plan of the sweep in a folder.

    Raises:
        UserError: the folder holds no sweep, or its plan is damaged.
    """
    sweep = SweepReader(folder)
    try:
        if sweep.plan is not None:
            return to_type(Plan, sweep.plan)
        problem = "the folder does not exist" if not folder.is_dir() else f"it has no {PLAN}"
        problem = next(iter(sweep.describe_problems()), problem)
    except ValueError as error:
        problem = f"{folder / PLAN} is damaged ({error})"
    raise UserError(f"sweep.resume={folder}: {problem}. Give the folder of a sweep.")


def read_command(folder: Path) -> list[str]:
    """Returns the arguments that repeat the command of the sweep in a folder.

    The plan may come from someone else, so it may set no more than a configuration file may.

    Raises:
        UserError: the folder holds no sweep, or its command has options or sets what only the user may set.
    """
    plan = read_plan(folder)
    if any(text.startswith("-") for text in plan.command):
        raise UserError(f"sweep.resume={folder}: the command in {PLAN} has options. Repeat the command of the sweep.")
    problems = list(command_problems([text for text in plan.command if not _is_root_of(text, folder)]))
    if problems and not is_trusted_folder(folder):
        raise UserError(
            "\n  ".join([f"sweep.resume={folder}: {PLAN} sets what only you may set:", *problems])
            + f"\nRepeat the command of the sweep with sweep.resume={folder}, if you trust it."
        )
    return [*([f"--config-dir={plan.config_dir}"] if plan.config_dir else []), *plan.command]


def _is_root_of(override: str, folder: Path) -> bool:
    """Whether an override sets the folder of outputs, and the sweep's folder is in it."""
    root = typed_settings([override]).get("paths.root_dir")
    return isinstance(root, str) and folder.resolve().is_relative_to(Path(root).resolve())


def renumber(previous: Plan, points: Sequence[SweepPoint]) -> list[SweepPoint]:
    """Gives the points the numbers that they have in the previous plan, and new points the numbers after these.

    Raises:
        UserError: the previous plan has none of the points.
    """
    numbers = {row.key: row.point for row in previous.points}
    if numbers and not any(point.key in numbers for point in points):
        swept = ", ".join(dict.fromkeys(name for row in previous.points for name in row.swept)) or "nothing"
        raise UserError(
            f"sweep.resume: that sweep has none of these points; it swept {swept}. "
            f"Repeat its command, or give sweep.resume alone."
        )
    for point in points:
        numbers.setdefault(point.key, max(numbers.values(), default=-1) + 1)
    return sorted((replace(point, number=numbers[point.key]) for point in points), key=lambda point: point.number)


def check_unchanged(previous: Plan, settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that the points of the previous plan still have the same settings.

    Args:
        previous: the plan in the sweep's folder.
        settings: the settings of each point of this command, by its key.

    Raises:
        UserError: names the settings that changed.
    """
    changed: dict[str, str] = {}
    for row in previous.points:
        if row.key in settings:
            old = {name: value for name, value in {**previous.settings, **row.differs}.items() if value != MISSING}
            for name, value in differences(old, json.loads(json.dumps(settings[row.key]))).items():
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
