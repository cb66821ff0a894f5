"""metrics.csv: all metrics of a run as one table."""

import csv
import io
import warnings
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from tinv.runs.files import write_text
from tinv.runs.layout import METRICS
from tinv.runs.reader import RunReader


class CSVLogger(Logger):
    """Writes `metrics.csv`: one row per step, one column per metric, in the order in which they first appeared.

    The file is replaced atomically, so it is complete whenever it is read; a killed run loses at most the last
    `flush_every_s` seconds. A run that resumes from a checkpoint keeps the rows up to its step.
    """

    name, version = "metrics", ""

    def __init__(self, dir: Path | str, flush_every_s: float = 1.0):
        """flush_every_s: longest time in seconds between logging a value and writing it."""
        super().__init__()
        self.path, self.flush_every_s = Path(dir) / METRICS, flush_every_s
        run = RunReader(dir)
        self._rows = run.metrics
        for problem in run.describe_problems():
            rank_zero_only(warnings.warn)(f"{problem}. What can be read is kept.", stacklevel=1)
        self._flush_time, self._has_changed = monotonic(), False

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Adds values to the row of a step; replaces values that it has already."""
        row = self._rows.setdefault(step or 0, {})
        row.update({name: repr(value) for name, value in metrics.items() if name != "epoch"})  # a run is one epoch
        self._has_changed = True

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Does nothing, because the run folder contains the config."""

    @rank_zero_only
    def save(self) -> None:
        """Writes the file if the last write is long enough ago."""
        if self._has_changed and monotonic() - self._flush_time >= self.flush_every_s:
            self.flush()

    @rank_zero_only
    def flush(self) -> None:
        """Writes the file."""
        columns = list(dict.fromkeys(name for row in self._rows.values() for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, ["step", *columns], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"step": step, **row} for step, row in sorted(self._rows.items()))
        write_text(self.path, text.getvalue())
        self._has_changed, self._flush_time = False, monotonic()

    def has_value(self, step: int, name: str) -> bool:
        """Returns whether a metric has a value at a step."""
        return name in self._rows.get(step, {})

    def digest(self, before: int) -> dict[str, Any]:
        """Returns the number of rows before a step and a SHA-256 of their values, for a checkpoint."""
        rows = [(step, sorted(row.items())) for step, row in sorted(self._rows.items()) if step < before]
        return {"rows": len(rows), "sha256": sha256(repr(rows).encode()).hexdigest()}

    @rank_zero_only
    def warn_of_differences(self, saved: Mapping[str, Any], before: int) -> None:
        """Warns if the rows before a step are not those whose digest is in the checkpoint."""
        present = self.digest(before)
        if present != saved:
            lost = saved["rows"] - present["rows"]
            problem = f"{lost} of {saved['rows']} rows are missing" if lost > 0 else "values are missing or changed"
            warnings.warn(f"{self.path}: {problem} before step {before}. The rest is kept.", stacklevel=1)

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Deletes the rows after a step, from which the run resumes."""
        later = [row_step for row_step in self._rows if row_step > step]
        for row_step in later:
            del self._rows[row_step]
        if later:
            self.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Writes what is not yet written when the run ends or fails."""
        if self._has_changed:
            self.flush()


def csv_loggers(trainer: Trainer) -> list[CSVLogger]:
    """Returns the loggers of a run that write `metrics.csv`."""
    return [logger for logger in trainer.loggers if isinstance(logger, CSVLogger)]
