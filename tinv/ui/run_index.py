"""Finds the runs and sweeps below a folder, and summarizes each from its small files."""

import os
from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

from tinv.config.secrets import hide
from tinv.errors import UserError
from tinv.runs import layout
from tinv.runs.reader import RunReader, SweepReader
from tinv.sweeps.progress_table import SILENT_S

_MAX_DEPTH = 4
"""`<name>/<time>/<point>` below the outputs, and one more."""
_WATCHED = (layout.STATUS, layout.PROGRESS, layout.RUN_CARD, layout.SAMPLES, layout.CONCEPTS)


@dataclass(frozen=True)
class _Entry:
    signature: tuple[float, ...]
    summary: dict[str, Any]


class RunIndex:
    """The runs below a folder. An id is the path of a run below it, with slashes."""

    def __init__(self, root: Path):
        """root: the folder; that of a single run or sweep stands for the one around it."""
        self.root = root.resolve()
        if (self.root / layout.PLAN).is_file() or RunReader(self.root).exists:
            self.root = self.root.parent
        self._entries: dict[str, _Entry] = {}

    def find(self, run_id: str) -> Path:
        """Returns the folder of a run or a sweep.

        Raises:
            UserError: there is none of this id below the folder, or it lies outside through a link or `..`.
        """
        try:
            folder = (self.root / run_id).resolve()
            is_run = RunReader(folder).exists or (folder / layout.PLAN).is_file()
        except (OSError, ValueError):  # no possible path
            is_run = False
        if not is_run or not folder.is_relative_to(self.root):
            raise UserError(f"{run_id[:200]}: there is no such run below {self.root}.")
        return folder

    def id_of(self, folder: Path) -> str:
        """Returns the id of a folder."""
        return folder.resolve().relative_to(self.root).as_posix()

    def summaries(self) -> list[dict[str, Any]]:
        """Returns a summary of each run and sweep, newest first; the points of a sweep belong to its summary."""
        self._refresh()
        now = time()
        rows = [{**entry.summary, "is_silent": _is_silent(entry.summary, now)} for entry in self._entries.values()]
        return sorted(rows, key=lambda row: (row["started"], row["id"]), reverse=True)

    def signature(self) -> Hashable:
        """Returns something else when a summary has changed."""
        self._refresh()
        return tuple((run_id, entry.signature) for run_id, entry in self._entries.items())

    def _refresh(self) -> None:
        entries = {}
        for folder, is_sweep in self._folders():
            run_id = folder.relative_to(self.root).as_posix()
            signature = _signature(folder, is_sweep)
            cached = self._entries.get(run_id)
            if cached is None or cached.signature != signature:
                cached = _Entry(signature, {"id": run_id, **(_sweep_summary if is_sweep else summarize_run)(folder)})
            entries[run_id] = cached
        self._entries = entries

    def _folders(self) -> Iterator[tuple[Path, bool]]:
        """Yields the folders of runs and of sweeps, without the points of sweeps."""
        levels = [self.root]
        for _ in range(_MAX_DEPTH):
            below = []
            for folder in levels:
                with os.scandir(folder) as entries:
                    names = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
                if layout.PLAN in names:
                    yield folder, True
                elif names.keys() & {*layout.RUN_FILES}:
                    yield folder, False
                else:
                    below += [folder / name for name, is_dir in names.items() if is_dir and not name.startswith(".")]
            levels = below


def summarize_run(folder: Path) -> dict[str, Any]:
    """Returns what a list of runs shows of a run."""
    run = RunReader(folder)
    status, progress = run.status, run.progress
    sheets = [path for concept in layout.concept_dirs(folder) for path in layout.list_samples(concept).values()][-1:]
    return {
        "kind": "run",
        "title": hide(", ".join(run.placeholder_tokens)) or folder.parent.name,
        "name": folder.parent.name,
        "time": folder.name,
        "status": status.status if status else "waiting",
        "reason": hide((status and status.reason) or ""),
        "started": (status and (status.first_started or status.started)) or str(run.card.get("started") or ""),
        "seconds": status.seconds if status else 0.0,
        "step": progress.step if progress else None,
        "max_steps": progress.max_steps if progress else run.max_steps,
        "seconds_left": progress.seconds_left if progress else None,
        "steps_per_s": progress.steps_per_s if progress else None,
        "loss": progress.loss if progress else None,
        "value": status.value if status else None,
        "model": hide(str(run.card_section("model").get("name", ""))).removesuffix("/pipeline").rpartition("/")[2],
        "sheet": sheets[0].relative_to(folder).as_posix() if sheets else None,
        "sheet_version": round(modified(sheets[0]) * 1000) if sheets else 0,
        "written": run.last_written or 0.0,
    }


def _sweep_summary(folder: Path) -> dict[str, Any]:
    sweep = SweepReader(folder)
    states = [point.state for point in sweep.points]
    counts = {status: sum(state.status == status for state in states) for status in {state.status for state in states}}
    return {
        "kind": "sweep",
        "title": folder.parent.name,
        "name": folder.parent.name,
        "time": folder.name,
        "status": _sweep_status(counts.keys()),
        "reason": "",
        "started": min((state.started for state in states if state.started), default=""),
        "counts": counts,
        "step": sum(state.has_ended for state in states),
        "max_steps": len(states),
        "monitor": hide(sweep.monitor or ""),
        "sheet": None,
        "written": max((point.run.last_written or 0.0 for point in sweep.points), default=0.0),
    }


def _sweep_status(states: Collection[str]) -> str:
    if {"running", "queued", "requeued"} & {*states}:
        return "running"
    return next((state for state in ("waiting", "interrupted", "failed") if {*states} == {state}), "done")


def _is_silent(summary: dict[str, Any], now: float) -> bool:
    return summary["status"] == "running" and now - summary["written"] > SILENT_S


def _signature(folder: Path, is_sweep: bool) -> tuple[float, ...]:
    """Returns numbers that change when the summary may change."""
    names: list[str] = [*_WATCHED]
    if is_sweep:
        names = [layout.PLAN, layout.SWEEP_RESULTS]
        names += [f"{path.name}/{layout.STATUS}" for path in os.scandir(folder) if path.name.isdecimal()]
    return tuple(modified(folder / name) for name in names)


def modified(path: Path) -> float:
    """Returns the time of the last change of a file or folder; 0 if there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
