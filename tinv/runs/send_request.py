"""Sends a request to a run, and waits for its answer."""

import secrets
import shlex
import socket
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tinv.config.secrets import hide_override
from tinv.errors import UserError
from tinv.runs.files import write_json
from tinv.runs.layout import PLAN
from tinv.runs.parent_process import is_alive
from tinv.runs.reader import RunReader
from tinv.runs.requests import PENDING, Answer, Request, SentRequest, read_answer, request_path
from tinv.runs.status import TIME_FORMAT, Status

TIMEOUT_S = 600.0
POLL_S = 0.2
GRACE_S = 5.0
"""Seconds in which a run that has ended may still answer."""


def send_request(run_dir: Path | str, request: Request) -> str:
    """Writes a request into a run folder, and returns its id.

    Raises:
        UserError: the run cannot answer, because it has ended or never could; or the folder cannot be written.
    """
    run = RunReader(run_dir)
    _check_run(run, request)
    now = datetime.now(UTC)
    id = f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
    session = session_name(run.status) if run.status and run.status.status == "running" else ""
    write_json(request_path(run_dir, id), asdict(SentRequest(request, f"{now:{TIME_FORMAT}}", session)))
    return id


def wait_for_answer(run_dir: Path | str, id: str, timeout_s: float = TIMEOUT_S) -> Answer:
    """Returns the final answer.

    Raises:
        UserError: there is none after `timeout_s` seconds, and the request is withdrawn if the run has not read it; or
            the run has ended without one.
    """
    deadline, ended_at = time.monotonic() + timeout_s, None
    while not (answer := read_answer(run_dir, id)).is_final:
        run, now = RunReader(run_dir), time.monotonic()
        ended_at = (ended_at or now) if (end := _describe_end(run)) else None
        if ended_at and now > ended_at + GRACE_S:
            withdraw_request(run_dir, id)
            raise UserError(f"{end} It has not answered.")
        if now >= deadline:
            if answer.state == PENDING and withdraw_request(run_dir, id):
                raise UserError(
                    f"{run_dir}: the run has not read the request in {timeout_s:g} s, and it is withdrawn. A long "
                    f"evaluation or a large model takes its time: wait longer with --timeout."
                )
            raise UserError(f"{run_dir}: the run has accepted the request but is not done after {timeout_s:g} s.")
        time.sleep(min(POLL_S, max(0.0, deadline - now)))
    return answer


def withdraw_request(run_dir: Path | str, id: str) -> bool:
    """Removes a request that the run has not read yet; returns whether there was one."""
    try:
        request_path(run_dir, id).unlink()
    except OSError:
        return False
    return True


def session_name(status: Status) -> str:
    """Returns a name that differs between the sessions of a run."""
    return f"{status.process} {status.started}"


def continue_command(run: RunReader, steps: int | None = None) -> str:
    """Returns the command that goes on with a run that has ended, for a number of further steps."""
    overrides = [hide_override(text) for text in run.overrides or [] if not text.startswith(("resume=", "trainer.max"))]
    max_steps = run.max_steps or (run.progress.max_steps if run.progress else None)
    longer = [f"trainer.max_steps={max_steps + steps}"] if max_steps and steps else []
    return shlex.join(["python", "train.py", *overrides, f"resume={Path(run.folder).absolute()}", *longer])


def _check_run(run: RunReader, request: Request) -> None:
    """Checks that a run can answer.

    Raises:
        UserError: it cannot, and what to do instead.
    """
    folder = run.folder
    if not folder.is_dir():
        raise UserError(f"{folder}: the folder does not exist. Give the folder of a run.")
    if (folder / PLAN).is_file():
        raise UserError(f"{folder}: this is a sweep. Give the folder of one of its points, such as {folder / '0'}.")
    status = run.status
    if status is None:
        problems = "; ".join(run.describe_problems())
        raise UserError(problems or f"{folder}: no run has started here. Give the folder of a run.")
    callbacks = (run.config or {}).get("callbacks")
    if run.config and not (isinstance(callbacks, dict) and "requests" in callbacks):
        raise UserError(f"{folder}: this run answers no requests, because it was started without callbacks.requests.")
    if end := _describe_end(run):
        if request.action in ("sample", "export"):
            advice = f"Use {'tinv generate --embedding' if request.action == 'sample' else 'tinv convert'} {folder}."
        else:
            advice = f"To continue it:\n  {continue_command(run, request.steps or 100)}"
        raise UserError(f"{end} {advice}")


def _describe_end(run: RunReader) -> str:
    """Returns a sentence if the run has ended; also if its process, on this machine, was killed."""
    status = run.status
    if status is None:
        return ""
    if status.has_ended:
        reason = f" ({status.reason})" if status.reason else ""
        return f"{run.folder}: the run has ended: {status.status}{reason}."
    host, _, pid = status.process.rpartition(":")
    if status.status == "running" and host == socket.gethostname() and pid.isdecimal() and not is_alive(int(pid)):
        return f"{run.folder}: the process of the run ({status.process}) was killed."
    return ""
