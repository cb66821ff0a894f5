"""The folder of a sweep: which points it has, and how each of them stands."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from filelock import FileLock, Timeout

from tinv.errors import UserError
from tinv.runs.files import write_json, write_text
from tinv.runs.layout import SWEEP_RESULTS, SWEEP_TABLE
from tinv.runs.reader import RunReader
from tinv.runs.status import ENDED, Status
from tinv.sweeps.points import SweepPoint
from tinv.sweeps.results_table import ResultRow, format_csv, format_table

GOOD = ("done", "pruned")
"""What a point can have come to that need not be run again."""


class SweepResults:
    """Keeps `sweep.csv` and `sweep.json` up to date; only the process that holds the sweep's folder writes them."""

    def __init__(self, folder: Path, *, monitor: str | None):
        """Args:
        folder: the sweep's own.
        monitor: name of the number that points are compared by.
        """
        self.folder, self.monitor = folder, monitor
        self.rows: dict[int, ResultRow] = {}
        self.failed: set[int] = set()
        """The points that failed since the sweep was started or taken up again."""
        self._is_full = False

    def enter(self, points: Iterable[SweepPoint]) -> None:
        """Add points. One that ended well before stays as it is, any other is still to be run."""
        for point in points:
            row = self.rows[point.number] = ResultRow(point.number, point.swept, folder=str(point.number))
            status = RunReader(self.folder / row.folder).status
            if status is not None and status.status in GOOD:
                self._fill(row, status)
        self.save()

    def refresh(self) -> None:
        """Look at the folders of the points that have not ended."""
        for row in self.rows.values():
            if row.status not in ENDED and (status := RunReader(self.folder / row.folder).status) is not None:
                self._fill(row, status)
        self.save()

    def note(self, point: SweepPoint, status: Status) -> None:
        """A point has ended."""
        if status.status == "failed":
            self.failed.add(point.number)
        self._fill(self.rows[point.number], status)
        self.save()

    def save(self) -> None:
        """Write both files. A disk that is full does not end the sweep: the table is also printed."""
        rows = list(self.rows.values())
        try:
            write_text(self.folder / SWEEP_TABLE, format_csv(rows, self.monitor))
            write_json(self.folder / SWEEP_RESULTS, {"monitor": self.monitor, "points": [asdict(row) for row in rows]})
        except UserError as error:
            if not self._is_full:
                print(error, file=sys.stderr, flush=True)
            self._is_full = True

    def summary(self) -> str:
        """The table for people."""
        return format_table(
            [replace(row, folder=str(self.folder / row.folder)) for row in self.rows.values()], self.monitor
        )

    def _fill(self, row: ResultRow, status: Status) -> None:
        row.status, row.value, row.seconds, row.reason = status.status, status.value, status.seconds, status.reason
        progress = RunReader(self.folder / row.folder).progress
        row.steps = progress.step if progress else None


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """The sweep's folder for one process alone.

    Raises:
        UserError: another process is at work in it.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{folder}: another process runs this sweep; wait for it, or give this one a folder of its own"
        ) from None
    try:
        yield
    finally:
        lock.release()
