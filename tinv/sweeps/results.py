"""The results of a sweep: the status and the monitored number of each point, in sweep.csv and sweep.json."""

import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from tinv.errors import UserError
from tinv.runs.files import write_json, write_text
from tinv.runs.layout import SWEEP_RESULTS, SWEEP_TABLE
from tinv.runs.reader import RunReader
from tinv.runs.status import ENDED, Status
from tinv.sweeps.points import SweepPoint
from tinv.sweeps.results_table import ResultRow, format_csv, format_table

COMPLETED = ("done", "pruned", "discarded")
"""The statuses of points that need not run again."""


class SweepResults:
    """Keeps sweep.csv and sweep.json up to date; only the process that locks the sweep's folder writes them."""

    def __init__(self, folder: Path, *, monitor: str | None):
        """Args:
        folder: the sweep's folder.
        monitor: the name of the metric by which points are compared.
        """
        self.folder, self.monitor = folder, monitor
        self.rows: dict[int, ResultRow] = {}
        self.failed: set[int] = set()
        """The numbers of the points that failed during this command."""
        self._has_write_error = False

    def add(self, points: Iterable[SweepPoint]) -> None:
        """Adds points. A completed one keeps its result; any other is `waiting`."""
        for point in points:
            row = self.rows[point.number] = ResultRow(point.number, point.swept, folder=str(point.number))
            status = RunReader(self.folder / row.folder).status
            if status is not None and status.status in COMPLETED:
                self._fill(row, status)
        self.save()

    def refresh(self) -> None:
        """Reads the status files of the points that have not ended."""
        for row in self.rows.values():
            if row.status not in ENDED and (status := RunReader(self.folder / row.folder).status) is not None:
                self._fill(row, status)
        self.save()

    def record(self, point: SweepPoint, status: Status) -> None:
        """Records how a point ended."""
        if status.status == "failed":
            self.failed.add(point.number)
        self._fill(self.rows[point.number], status)
        self.save()

    def save(self) -> None:
        """Writes both files. A full disk does not end the sweep: only the first error is printed."""
        rows = list(self.rows.values())
        try:
            write_text(self.folder / SWEEP_TABLE, format_csv(rows, self.monitor))
            write_json(self.folder / SWEEP_RESULTS, {"monitor": self.monitor, "points": [asdict(row) for row in rows]})
        except UserError as error:
            if not self._has_write_error:
                print(error, file=sys.stderr, flush=True)
            self._has_write_error = True

    def summary(self) -> str:
        """Returns the table of all points."""
        rows = [replace(row, folder=str(self.folder / row.folder)) for row in self.rows.values()]
        return format_table(rows, self.monitor)

    def _fill(self, row: ResultRow, status: Status) -> None:
        row.status, row.value, row.seconds, row.reason = status.status, status.value, status.seconds, status.reason
        progress = RunReader(self.folder / row.folder).progress
        row.steps = progress.step if progress else None
