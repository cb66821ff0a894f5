"""Damage in one line of metrics.csv costs no other line, and is reported."""

import pytest

from tinv.runs.metrics_table import parse_metrics

INTACT = b"step,train/loss,val/loss\n0,0.5,\n1,0.25,nan\n2,,0.125\n"
ROWS = {0: {"train/loss": "0.5"}, 1: {"train/loss": "0.25", "val/loss": "nan"}, 2: {"val/loss": "0.125"}}


def without(*steps: int) -> dict[int, dict[str, str]]:
    return {step: row for step, row in ROWS.items() if step not in steps}


@pytest.mark.parametrize(
    ("old", "new", "rows", "problem"),
    [
        (b"", b"", ROWS, ""),
        (b"0.25", b"0.\xb25", {**ROWS, 1: {"val/loss": "nan"}}, "a damaged value"),
        (b"0.25", b'"0.25', without(1), "a damaged line"),
        (b"0.25,", b"0.25-", without(1), "a damaged line"),
        (b"\n1,", b"\nx,", without(1), "a damaged line"),
        (b"\n1,", b"\n0,", without(1), "a damaged line"),
        (b"\n1,", b"J1,", without(0, 1), "a damaged line"),
        (b"0.125\n", b"0.12", without(2), "a line that is cut off"),
        (b"step", b"stdp", ROWS, "a damaged header"),
        (b"step,train/loss", b"step,train/l\xefss", {
            0: {"train/l\ufffdss": "0.5"}, 1: {"train/l\ufffdss": "0.25", "val/loss": "nan"}, 2: ROWS[2],
        }, "a damaged header"),
        (INTACT, b"", {}, "an empty file"),
        (INTACT, bytes(40), {}, "a line that is cut off"),
    ],
)  # fmt: skip
def test_what_can_be_read_is_kept_and_the_rest_is_reported(old, new, rows, problem):
    assert parse_metrics(INTACT.replace(old, new, 1)) == (rows, problem)


def test_equal_problems_are_counted():
    assert parse_metrics(INTACT.replace(b",0", b",x"))[1] == "a damaged value (3 times)"
