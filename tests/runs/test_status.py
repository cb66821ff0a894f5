"""status.json says how a run stands, at the beginning and at any end."""

import json

import pytest

from tinv.errors import UserError
from tinv.runs.status import read_status, recorded


def test_a_run_is_running_until_it_is_done(tmp_path):
    with recorded(tmp_path) as status:
        assert read_status(tmp_path).status == "running"
        assert not read_status(tmp_path).has_ended
        status.value = 0.5
    ended = read_status(tmp_path)
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
    with pytest.raises(type(error)), recorded(tmp_path):
        raise error
    assert (read_status(tmp_path).status, read_status(tmp_path).reason) == (status, reason)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_file_is_json_whatever_the_number(tmp_path, value):
    with recorded(tmp_path) as status:
        status.value = value
    text = (tmp_path / "status.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["reason"] == f"ended with {value}"


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with recorded(tmp_path):
        pass
    assert read_status(tmp_path) is None


def test_a_file_that_cannot_be_read_is_no_status(tmp_path):
    (tmp_path / "status.json").write_text('{"status": "do')
    assert read_status(tmp_path) is None


def test_why_it_failed_is_not_hidden_by_a_disk_that_is_full(tmp_path):
    with pytest.raises(IndexError), recorded(tmp_path / "run"):
        (tmp_path / "run" / "status.json").unlink()
        (tmp_path / "run" / "status.json").mkdir()
        raise IndexError
