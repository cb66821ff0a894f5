"""Requests are checked, sent and read atomically; what is no request is named and passed over."""

import json
import os
import socket
import threading
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from tinv.errors import UserError
from tinv.runs.files import write_json
from tinv.runs.record_status import record_status, write_status
from tinv.runs.request_inbox import MAX_FILES, MAX_WARNINGS, RequestInbox
from tinv.runs.requests import (
    ACCEPTED,
    DONE,
    MAX_BYTES,
    REFUSED,
    Answer,
    Request,
    list_answers,
    read_answer,
    request_path,
)
from tinv.runs.send_request import send_request, session_name, wait_for_answer, withdraw_request
from tinv.runs.status import Status


@pytest.fixture
def run(tmp_path):
    """The folder of a run that this process executes."""
    write_status(tmp_path, Status(process=f"{socket.gethostname()}:{os.getpid()}", started="2026-11-30T01:00:00Z"))
    return tmp_path


def inbox(run: Path) -> RequestInbox:
    return RequestInbox(run, f"{socket.gethostname()}:{os.getpid()} 2026-11-30T01:00:00Z")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"action": "sampel"}, "did you mean sample?"),
        ({"action": "stop", "steps": 5}, "stop: takes no steps"),
        ({"action": "checkpoint", "prompts": ["a {}"]}, "checkpoint: takes no prompts"),
        ({"action": "extend"}, "extend=0: must be from 1"),
        ({"action": "extend", "steps": -5}, "extend=-5: must be from 1"),
        ({"action": "export", "format": "../x"}, "is no format"),
        ({"action": "sample", "prompts": ["a {:>999999999}"]}, "stray brace"),
        ({"action": "sample", "prompts": ["a {0.__class__}"]}, "stray brace"),
        ({"action": "sample", "prompts": ["x" * 1001]}, "up to 1000 printable characters"),
        ({"action": "sample", "prompts": ["a\nb"]}, "printable"),
        ({"action": "sample", "prompts": ["a"] * 9, "seeds": [*range(8)]}, "number of images=72: must be from 1 to 64"),
        ({"action": "sample", "seeds": [-1]}, "seed=-1"),
        ({"action": "sample", "num_inference_steps": 10**6}, "num_inference_steps=1000000"),
    ],
)
def test_a_request_out_of_range_is_refused(arguments, problem):
    with pytest.raises(UserError, match=problem.replace("{", r"\{").replace("?", r"\?")):
        Request(**arguments)


@pytest.mark.parametrize(
    "request_",
    [
        Request(
            "sample", prompts=["a {} on the {0}", "a {cat-toy}"], seeds=[1, 2], guidance_scale=3, negative_prompt=""
        ),
        Request("export", format="a1111"),
        Request("extend", steps=200),
        Request("stop", discard=True),
    ],
)
def test_what_was_sent_is_read_once(run, request_):
    id = send_request(run, request_)
    assert read_answer(run, id).state == "pending" and read_answer(run, id).request == request_
    box = inbox(run)
    (answer,) = box.poll()
    assert answer == read_answer(run, id).__class__(**vars(answer)) and answer.request == request_
    assert read_answer(run, id).state == ACCEPTED and box.poll() == inbox(run).poll() == []
    box.write(Answer(id, request_, DONE, "Done.", 7, ["x"], sent_at=answer.sent_at))
    final = wait_for_answer(run, id)
    assert (final.state, final.message, final.step, final.files) == (DONE, "Done.", 7, ["x"]) and final.answered_at
    assert list_answers(run) == [final]


def test_requests_are_read_in_the_order_in_which_they_were_sent(run):
    requests = [Request("extend", steps=steps) for steps in range(1, 20)]
    for request in requests:
        send_request(run, request)
    assert [answer.request for answer in inbox(run).poll()] == requests


def test_many_senders_at_once_lose_nothing(run):
    def send(start: int) -> None:
        for steps in range(start, start + 25):
            send_request(run, Request("extend", steps=steps))

    threads = [threading.Thread(target=send, args=[start]) for start in (1, 101, 201, 301)]
    box, answers = inbox(run), []
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        answers += box.poll()
    for _ in range(100 // MAX_FILES + 1):
        answers += box.poll()
    assert len(answers) == len({answer.request.steps for answer in answers}) == 100


def hostile(folder: Path, name: str) -> None:
    """Writes a file that is no request."""
    path, good = folder / "20261130T010000000000-0123abcd.json", {"action": "stop"}
    if name == "folder":
        path.mkdir()
    elif name == "pipe":
        os.mkfifo(path)
    elif name == "link":
        (folder.parent / "secret.json").write_text(json.dumps({"request": good, "sent_at": ""}))
        path.symlink_to(folder.parent / "secret.json")
    elif name == "name":
        (folder / "stop.json").write_text(json.dumps({"request": good, "sent_at": ""}))
    else:
        contents: dict[str, bytes] = {
            "empty": b"",
            "binary": bytes(range(256)),
            "deep": b"[" * 100_000,
            "huge": b" " * MAX_BYTES + b"{}",
            "list": b"[]",
            "number": b'{"request": 1e999, "sent_at": ""}',
            "no action": b'{"request": {}, "sent_at": ""}',
            "action": json.dumps({"request": {"action": "rm -rf /"}, "sent_at": ""}).encode(),
            "type": json.dumps({"request": {"action": "extend", "steps": "1"}, "sent_at": ""}).encode(),
            "range": json.dumps({"request": {"action": "extend", "steps": 10**30}, "sent_at": ""}).encode(),
            "null byte": json.dumps({"request": {"action": "sample", "prompts": ["\x00"]}, "sent_at": ""}).encode(),
        }
        path.write_bytes(contents[name])


_HOSTILE = "folder pipe link name empty binary deep huge list number type range action".split()


@pytest.mark.parametrize("name", [*_HOSTILE, "no action", "null byte"])
@pytest.mark.skipif(os.name == "nt", reason="needs links and pipes")
def test_what_is_no_request_is_named_once_and_passed_over(run, name, capsys):
    (run / "requests").mkdir()
    hostile(run / "requests", name)
    id = send_request(run, Request("stop"))
    box = inbox(run)
    assert [answer.id for answer in box.poll()] == [id]
    warning = capsys.readouterr().err
    assert warning.count("\n") == 1 and "passed over" in warning and str(run / "requests") in warning
    assert box.poll() == [] and not capsys.readouterr().err
    assert [answer.id for answer in list_answers(run)] == [id]


def test_a_flood_of_files_is_named_briefly_and_does_not_hide_a_request(run, capsys):
    for number in range(200):
        write_json(run / "requests" / f"{number}.json", {})
    id, box = send_request(run, Request("stop")), inbox(run)
    accepted = [answer.id for _ in range(8) for answer in box.poll()]
    assert accepted == [id] and capsys.readouterr().err.count("\n") == MAX_WARNINGS


def test_a_full_disk_loses_the_answer_alone(run, capsys, monkeypatch):
    id, box = send_request(run, Request("stop")), inbox(run)

    def fail(path: Path, value: object) -> None:
        raise UserError(f"cannot write {path}: the disk is full")

    monkeypatch.setattr("tinv.runs.request_inbox.write_json", fail)
    assert [answer.id for answer in box.poll()] == [id]
    assert box.poll() == [] and "the disk is full" in capsys.readouterr().err


def test_a_request_of_an_earlier_session_is_refused_but_one_from_before_the_start_is_not(run):
    id = send_request(run, Request("stop"))
    write_status(run, Status("requeued", process="a:1", started="2026-11-30T01:00:00Z"))
    waiting = send_request(run, Request("checkpoint"))
    box = RequestInbox(run, session_name(Status(process="b:2", started="2026-11-30T02:00:00Z")))
    assert [answer.id for answer in box.poll()] == [waiting]
    assert read_answer(run, id).state == REFUSED and "started again" in read_answer(run, id).message


@pytest.mark.parametrize(
    ("action", "advice"),
    [("extend", "resume="), ("stop", "resume="), ("sample", "tinv generate"), ("export", "tinv convert")],
)
def test_a_run_that_has_ended_is_not_asked_and_the_message_says_what_to_do(tmp_path, action, advice):
    with record_status(tmp_path):
        write_json(tmp_path / "progress.json", {})
    write_json(tmp_path / "run.json", {"max_steps": 1000})
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra/overrides.yaml").write_text(yaml.safe_dump(["+experiment=cat_toy", "trainer.max_steps=1000"]))
    with pytest.raises(UserError, match="the run has ended: done") as error:
        send_request(tmp_path, Request(action, steps=200 if action == "extend" else None))
    assert advice in str(error.value) and not (tmp_path / "requests").exists()
    if action == "extend":
        assert str(error.value).endswith(f"+experiment=cat_toy resume={tmp_path} trainer.max_steps=1200")


def test_a_folder_that_cannot_answer_is_refused(tmp_path, run):
    for folder, problem in [(tmp_path / "missing", "does not exist"), (tmp_path / "empty", "no run has started")]:
        if folder.name == "empty":
            folder.mkdir()
        with pytest.raises(UserError, match=problem):
            send_request(folder, Request("stop"))
    sweep = tmp_path / "sweep"
    write_json(sweep / "plan.json", {})
    with pytest.raises(UserError, match="this is a sweep"):
        send_request(sweep, Request("stop"))
    (run / ".hydra").mkdir()
    (run / ".hydra/config.yaml").write_text("callbacks: {samples: {}}")
    with pytest.raises(UserError, match=r"started without callbacks\.requests"):
        send_request(run, Request("stop"))


def test_without_an_answer_the_request_is_withdrawn(run):
    id = send_request(run, Request("stop"))
    with pytest.raises(UserError, match="withdrawn"):
        wait_for_answer(run, id, timeout_s=0.1)
    assert not request_path(run, id).exists() and not withdraw_request(run, id)
    accepted = send_request(run, Request("stop"))
    inbox(run).poll()
    with pytest.raises(UserError, match="accepted the request but is not done"):
        wait_for_answer(run, accepted, timeout_s=0.1)


def test_the_death_of_the_run_ends_the_wait(run, monkeypatch):
    monkeypatch.setattr("tinv.runs.send_request.GRACE_S", 0.0)
    id = send_request(run, Request("stop"))
    write_status(run, Status("failed", reason="out of memory"))
    with pytest.raises(UserError, match=r"failed \(out of memory\). It has not answered"):
        wait_for_answer(run, id)
    write_status(run, Status(process=f"{socket.gethostname()}:{2**22 + 1}", started="2026-11-30T01:00:00Z"))
    with pytest.raises(UserError, match="was killed"):
        send_request(run, Request("stop"))


@pytest.mark.parametrize("id", ["../../x", "", "20261130T010000000000-0123abcd/../x"])
def test_an_id_is_no_path(run, id):
    with pytest.raises(UserError, match="no id of a request"):
        read_answer(run, id)


def test_a_damaged_answer_is_an_error_and_is_left_out_of_the_list(run):
    id = send_request(run, Request("stop"))
    path = request_path(run, id)
    path.write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        read_answer(run, id)
    path.write_text(json.dumps(asdict(Request("stop"))))
    with pytest.raises(UserError, match="is damaged"):
        read_answer(run, id)
    assert list_answers(run) == []
