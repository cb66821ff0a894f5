"""status.json holds the state of a run, at its start and at any end."""

import json

import pytest

from tinv.errors import UserError
from tinv.runs.reader import RunReader
from tinv.runs.record_status import record_status


def test_a_run_is_running_until_it_is_done(tmp_path):
    with record_status(tmp_path) as status:
        assert (RunReader(tmp_path).status.status, RunReader(tmp_path).status.has_ended) == ("running", False)
        status.value = 0.5
    ended = RunReader(tmp_path).status
    assert (ended.status, ended.value, ended.reason, ended.has_ended) == ("done", 0.5, None, True)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (UserError("the disk is full"), "failed", "the disk is full"),
        (IndexError("out of range"), "failed", "IndexError: out of range"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
        (SystemExit(1), "interrupted", "SystemExit: 1"),
    ],
)
def test_an_error_is_recorded_and_raised(tmp_path, error, status, reason):
    with pytest.raises(type(error)), record_status(tmp_path):
        raise error
    assert (RunReader(tmp_path).status.status, RunReader(tmp_path).status.reason) == (status, reason)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_recorded_as_the_reason(tmp_path, value):
    with record_status(tmp_path) as status:
        status.value = value
    text = (tmp_path / "status.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["reason"] == f"ended with {value}"


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with record_status(tmp_path):
        pass
    assert RunReader(tmp_path).status is None


def test_a_status_that_cannot_be_written_does_not_hide_the_error(tmp_path):
    with pytest.raises(IndexError), record_status(tmp_path / "run"):
        (tmp_path / "run" / "status.json").unlink()
        (tmp_path / "run" / "status.json").mkdir()
        raise IndexError
