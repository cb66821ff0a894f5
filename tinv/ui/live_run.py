"""Reads a run again and again while it trains: of metrics.csv each time only the lines that are new."""

from functools import cached_property
from pathlib import Path

from tinv.runs.layout import METRICS
from tinv.runs.metrics_table import parse_metrics
from tinv.runs.reader import Curve, RunReader, parse_finite

REWRITTEN_LINES = 20
"""The last lines are parsed again: a run adds columns to a row that it has written before."""


class LiveMetrics:
    """The curves of a run, kept between two reads."""

    def __init__(self, folder: Path):
        self._path = folder / METRICS
        self._start = b""
        """The lines that were parsed once and for all."""
        self._curves: dict[str, Curve] = {}
        """Their values."""

    def read(self) -> dict[str, Curve]:
        """Returns the finite values of each metric, as they are in the file now."""
        try:
            content = self._path.read_bytes()
        except OSError:
            content = b""
        if not content.startswith(self._start):  # a new column, or a run that was rewound
            self._start, self._curves = b"", {}
        header_end = content.find(b"\n") + 1
        end = len(content)
        for _ in range(REWRITTEN_LINES + 1):
            end = max(0, content.rfind(b"\n", 0, end))
        begin, end = max(len(self._start), header_end), end + 1
        if end > begin:
            _add_rows(self._curves, content[:header_end] + content[begin:end])
            self._start, begin = content[:end], end
        curves = {name: list(curve) for name, curve in self._curves.items()}
        _add_rows(curves, content[:header_end] + content[begin:])
        return curves


class LiveRun(RunReader):
    """A reader whose curves come from a `LiveMetrics` that outlives it."""

    def __init__(self, folder: Path, metrics: LiveMetrics):
        super().__init__(folder)
        self._live_metrics = metrics

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """The finite values of each metric."""
        return self._live_metrics.read()


def _add_rows(curves: dict[str, Curve], table: bytes) -> None:
    rows, _ = parse_metrics(table)
    for step, row in rows.items():
        for name, text in row.items():
            if (value := parse_finite(text)) is not None:
                curves.setdefault(name, []).append((step, value))
