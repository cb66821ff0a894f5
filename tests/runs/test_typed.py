"""JSON content becomes a dataclass, or a message that names the wrong value."""

from typing import Any

import pytest

from tinv.runs.status import Progress, Status
from tinv.runs.typed import to_type
from tinv.sweeps.plan_file import Plan, PlannedPoint

PROGRESS = {"step": 1, "max_steps": 2, "steps_per_s": 3, "seconds_left": None, "loss": 0.5, "written_at": ""}
POINT = {"point": 0, "key": "a", "swept": {"seed": "1"}, "differs": {"seed": 1}}
PLAN = {"id": "x", "command": ["a=1"], "config_dir": None, "settings": {"x": [1, {}]}, "points": [POINT]}


def test_objects_lists_and_options_are_converted():
    assert to_type(Progress, {**PROGRESS, "new": 1}) == Progress(1, 2, 3.0, None, 0.5, "")
    point = PlannedPoint(0, "a", {"seed": "1"}, {"seed": 1})
    assert to_type(Plan, PLAN) == Plan("x", ["a=1"], None, {"x": [1, {}]}, [point])


@pytest.mark.parametrize(
    ("cls", "content", "problem"),
    [
        (Progress, [1], r"the content is \[1\]"),
        (Progress, {**PROGRESS, "step": "1"}, "step is '1'"),
        (Progress, {**PROGRESS, "step": True}, "step is True"),
        (Progress, {**PROGRESS, "step": 1.0}, "step is 1.0"),
        (Progress, {**PROGRESS, "loss": float("inf")}, "loss is inf"),
        (Progress, {**PROGRESS, "loss": 10**400}, r"loss is 10+ \.\.\."),
        (Progress, {"step": 1}, "max_steps is missing"),
        (Plan, {**PLAN, "points": 3}, "points is 3"),
        (Plan, {**PLAN, "command": [1]}, r"command\[0\] is 1"),
        (Plan, {**PLAN, "points": [POINT, {**POINT, "swept": {"seed": 1}}]}, r"points\[1\]\.swept\.seed is 1"),
        (Status, {"started": "yesterday"}, "yesterday"),
        (Status, {"first_started": "2026-13-40T00:00:00Z"}, "2026-13-40"),
    ],
)
def test_a_value_of_another_type_is_named(cls: type, content: Any, problem: str):
    with pytest.raises(ValueError, match=problem):
        to_type(cls, content)
