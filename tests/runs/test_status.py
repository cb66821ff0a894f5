"""status.json says how a run stands, at the beginning and at any end."""

import json

import pytest

from tinv.errors import UserError
from tinv.runs.reader import RunReader
from tinv.runs.record_status import record_status


def test_a_run_is_running_until_it_is_done(tmp_path):
    with record_status(tmp_path) as status:
        assert RunReader(tmp_path).status.status == "running"
        assert not RunReader(tmp_path).status.has_ended
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
def test_every_end_is_told_and_passed_on(tmp_path, error, status, reason):
    with pytest.raises(type(error)), record_status(tmp_path):
        raise error
    assert (RunReader(tmp_path).status.status, RunReader(tmp_path).status.reason) == (status, reason)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_file_is_json_whatever_the_number(tmp_path, value):
    with record_status(tmp_path) as status:
        status.value = value
    text = (tmp_path / "status.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["reason"] == f"ended with {value}"


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with record_status(tmp_path):
        pass
    assert RunReader(tmp_path).status is None


def test_a_file_that_cannot_be_read_is_no_status(tmp_path):
    (tmp_path / "status.json").write_text('{"status": "do')
    assert RunReader(tmp_path).status is None


def test_why_it_failed_is_not_hidden_by_a_disk_that_is_full(tmp_path):
    with pytest.raises(IndexError), record_status(tmp_path / "run"):
        (tmp_path / "run" / "status.json").unlink()
        (tmp_path / "run" / "status.json").mkdir()
        raise IndexError
