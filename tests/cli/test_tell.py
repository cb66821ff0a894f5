"""`tinv tell` sends a request, waits for the answer and prints it."""

import json
import os
import socket
import threading
from dataclasses import replace

import pytest

from tinv.cli import main as tinv
from tinv.runs.record_status import write_status
from tinv.runs.request_inbox import RequestInbox
from tinv.runs.requests import DONE, REFUSED, Request
from tinv.runs.status import Status


@pytest.fixture
def run(tmp_path):
    process = f"{socket.gethostname()}:{os.getpid()}"
    write_status(tmp_path, Status(process=process, started="2026-11-30T01:00:00Z"))
    inbox, requests, has_ended = RequestInbox(tmp_path, f"{process} 2026-11-30T01:00:00Z"), [], threading.Event()

    def answer() -> None:
        while not has_ended.wait(0.05):
            for each in inbox.poll():
                requests.append(each.request)
                state = REFUSED if each.request.action == "extend" else DONE
                inbox.write(replace(each, state=state, message=f"It is {state}.", files=["x.png"], step=5))

    thread = threading.Thread(target=answer)
    thread.start()
    yield tmp_path, requests
    has_ended.set()
    thread.join()


def test_the_answer_is_printed_with_the_files(run, capsys):
    folder, requests = run
    assert tinv(["tell", str(folder), "sample", "--prompt", "a {}", "--prompt", "a dog", "--seed", "0-1"]) == 0
    assert requests == [Request("sample", prompts=["a {}", "a dog"], seeds=[0, 1])]
    assert capsys.readouterr().out.splitlines() == ["It is done.", str(folder / "x.png")]
    assert tinv(["tell", str(folder), "export", "--to", "a1111"]) == 0
    assert requests[1:] == [Request("export", format="a1111")]


def test_a_refusal_is_an_error(run, capsys):
    assert tinv(["tell", str(run[0]), "extend=200"]) == 1
    assert capsys.readouterr().err == "It is refused.\n" and run[1] == [Request("extend", steps=200)]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["extend"], "write a number of steps"),
        (["extend=x"], "write a number of steps"),
        (["stop=1"], "write a number of steps"),
        (["stopp"], "did you mean stop?"),
        (["checkpoint", "--discard"], "takes no discard"),
        (["stop", "--timeout", "0"], "must be above 0"),
    ],
)
def test_a_wrong_request_is_not_sent(run, words, problem, capsys):
    assert tinv(["tell", str(run[0]), *words]) == 1
    assert problem in capsys.readouterr().err and not run[1]


def test_without_waiting_the_request_stays_until_it_is_read(tmp_path, capsys):
    write_status(tmp_path, Status("queued"))
    assert tinv(["tell", str(tmp_path), "stop", "--discard", "--no-wait"]) == 0
    (path,) = (tmp_path / "requests").glob("*.json")
    assert json.loads(path.read_text())["request"]["discard"] and "sent" in capsys.readouterr().out
