"""The progress of the points that run at once: a table on a terminal, lines elsewhere."""

import sys
from typing import Any, Self

from tinv.sweeps.results_table import format_duration

_COLUMNS = ("lane", "point", "step", "loss", "steps/s", "left")


class LaneTable:
    """Shows a line for each point that runs; on a terminal they are redrawn."""

    def __init__(self) -> None:
        self._rows: dict[int, dict[str, Any]] = {}
        self._lanes: dict[int, int] = {}
        self._tenths: dict[int, int] = {}
        self._live: Any = None

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(refresh_per_second=2, transient=True, redirect_stderr=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def update(self, device: str, rows: list[dict[str, Any]]) -> None:
        """Shows the progress of the points of a device."""
        for row in rows:
            number = row["point"]
            free = next(i for i in range(len(self._lanes) + 1) if i not in self._lanes.values())
            self._lanes.setdefault(number, free)
            self._rows[number] = {**row, "device": device}
            if self._live is None and "step" in row:
                tenth = 10 * row["step"] // row["max_steps"]
                if tenth > self._tenths.setdefault(number, tenth):
                    print(_line(row), flush=True)
                self._tenths[number] = tenth
        if self._live:
            self._live.update(self._table())

    def remove(self, number: int) -> None:
        """Forgets a point that has ended."""
        for by_number in (self._rows, self._lanes, self._tenths):
            by_number.pop(number, None)

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(*_COLUMNS, box=None)
        for number, lane in sorted(self._lanes.items(), key=lambda item: item[1]):
            table.add_row(str(lane), *_cells(self._rows[number]))
        return table


def _cells(row: dict[str, Any]) -> list[str]:
    if "step" not in row:
        return [row["label"], "starts", "", "", ""]
    left = format_duration(row["left"]) if row["left"] is not None else ""
    loss = row["metrics"].get("loss", "")
    return [row["label"], f"{row['step']}/{row['max_steps']}", loss, f"{row['steps_per_s']:.2f}", left]


def _line(row: dict[str, Any]) -> str:
    label, step, loss, rate, left = _cells(row)
    return f"{label}  step {step}  loss {loss}  {rate} steps/s  {left} left"
