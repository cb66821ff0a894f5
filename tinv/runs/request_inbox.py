"""The run's side of its requests: reads them once, and writes the answers."""

import os
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tinv.config.secrets import hide
from tinv.errors import UserError
from tinv.runs.files import write_json
from tinv.runs.layout import ANSWERED, REQUESTS
from tinv.runs.requests import (
    ACCEPTED,
    REFUSED,
    Answer,
    answer_path,
    is_request_id,
    read_request,
)
from tinv.runs.status import TIME_FORMAT

MAX_FILES = 32
"""How many files are read at once; the others wait for the next time."""
MAX_WARNINGS = 20
"""How many files are named that are no requests."""


class RequestInbox:
    """Reads the requests of a run folder. A file that is no request is named once, and never stops the run."""

    def __init__(self, run_dir: Path, session: str):
        """Args:
        run_dir: the run folder.
        session: see `SentRequest.session`.
        """
        self.run_dir, self.session = run_dir, session
        self._read: set[str] = set()
        """The names of the files that were read, as some cannot be removed."""
        self._num_warnings = 0

    def poll(self) -> list[Answer]:
        """Returns the new requests, which are accepted from now on, oldest first."""
        try:
            names = sorted(entry.name for entry in os.scandir(self.run_dir / REQUESTS))
        except OSError:  # no request was ever sent, or the file server does not answer
            return []
        new = [name for name in names if name not in self._read and name[:1] != "." and name != ANSWERED]
        accepted = []
        for name in new[:MAX_FILES]:
            self._read.add(name)
            if (answer := self._accept(name)) and answer.state == ACCEPTED:
                accepted.append(answer)
        return accepted

    def write(self, answer: Answer) -> None:
        """Writes an answer; a full disk is no reason to stop the run."""
        answered_at = f"{datetime.now(UTC):{TIME_FORMAT}}"
        try:
            write_json(answer_path(self.run_dir, answer.id), replace(answer, answered_at=answered_at).to_json())
        except UserError as error:
            self._warn(f"the answer to {answer.request} was not written: {error}")

    def _accept(self, name: str) -> Answer | None:
        """Reads a file and removes it; returns the request, or None if the file is none."""
        path, id = self.run_dir / REQUESTS / name, Path(name).stem
        if not (is_request_id(id) and name == f"{id}.json"):
            self._warn(f"{path} is no request and was passed over: its name is none of a request")
            return None
        if answer_path(self.run_dir, id).exists():
            with suppress(OSError):
                path.unlink()
            return None
        try:
            sent = read_request(path)
        except FileNotFoundError:  # it was withdrawn
            return None
        except (OSError, ValueError, RecursionError) as error:
            self._warn(f"{path} is no request and was passed over: {str(error)[:200] or type(error).__name__}")
            return None
        answer = Answer(id, sent.request, ACCEPTED, sent_at=sent.sent_at)
        if sent.session not in ("", self.session):
            message = "The run was started again before it read this request. Send it again."
            answer = replace(answer, state=REFUSED, message=message)
        self.write(answer)
        with suppress(OSError):
            path.unlink()
        return answer

    def _warn(self, message: str) -> None:
        self._num_warnings += 1
        if self._num_warnings <= MAX_WARNINGS:
            more = " Further ones are not named." if self._num_warnings == MAX_WARNINGS else ""
            print(f"warning: {hide(message)}.{more}", file=sys.stderr, flush=True)
