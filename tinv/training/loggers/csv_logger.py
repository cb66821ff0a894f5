"""The run's numbers as a table that any program can read."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from tinv.runs.files import write_text
from tinv.runs.layout import METRICS
from tinv.runs.reader import RunReader


class CSVLogger(Logger):
    """Writes `metrics.csv`: one row a step, one column a metric, in the order in which they first came.

    The file is replaced as a whole, so that it is complete whenever it is read, and a run that is killed loses the
    last moments at most. A run that goes on from a checkpoint keeps the rows up to there.
    """

    def __init__(self, dir: Path | str, flush_every_s: float = 1.0):
        """Args:
        dir: the run's folder.
        flush_every_s: how many seconds may pass between a number and its place on disk.
        """
        super().__init__()
        self.path = Path(dir) / METRICS
        self.flush_every_s = flush_every_s
        self._rows = RunReader(dir).metrics
        self._flushed_at = monotonic()
        self._is_new = False

    @property
    def name(self) -> str:
        """Lightning asks for it."""
        return "metrics"

    @property
    def version(self) -> str:
        """There is one."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add numbers to the row of a step; a number that is there already is replaced."""
        row = self._rows.setdefault(step or 0, {})
        row.update({name: repr(value) for name, value in metrics.items() if name != "epoch"})  # the run is one epoch
        self._is_new = True

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """The run's folder holds the configuration as it is."""

    @rank_zero_only
    def save(self) -> None:
        """Write the file if the last time was long enough ago."""
        if self._is_new and monotonic() - self._flushed_at >= self.flush_every_s:
            self.flush()

    @rank_zero_only
    def flush(self) -> None:
        """Write the file."""
        columns = list(dict.fromkeys(name for row in self._rows.values() for name in row))
        text = io.StringIO()
        table = csv.DictWriter(text, ["step", *columns], lineterminator="\n")
        table.writeheader()
        table.writerows({"step": step, **row} for step, row in sorted(self._rows.items()))
        write_text(self.path, text.getvalue())
        self._is_new, self._flushed_at = False, monotonic()

    def has(self, step: int, name: str) -> bool:
        """Whether the row of a step has a number."""
        return name in self._rows.get(step, {})

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Forget the rows behind a step: the run goes on from there."""
        behind = [number for number in self._rows if number > step]
        for number in behind:
            del self._rows[number]
        if behind:
            self.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """The run is over, well or not."""
        if self._is_new:
            self.flush()
