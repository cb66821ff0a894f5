"""What every sweep does, whoever chooses its points: keep the folder, go on after a failure or stop, and tell."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tinv.config.compose import CompositionError, Groups
from tinv.errors import UserError
from tinv.runs.layout import PLAN
from tinv.runs.status import Status
from tinv.sweeps import model_cache
from tinv.sweeps import plan_file as kept
from tinv.sweeps.launchers import report_failure
from tinv.sweeps.points import SweepPoint, differences, key, settings
from tinv.sweeps.results import GOOD, SweepResults, lock_folder
from tinv.sweeps.results_table import ResultRow
from tinv.sweeps.subprocess_run import config_dir


class SweepRun:
    """A sweep in its folder, new or taken up again."""

    def __init__(self, config: DictConfig, arguments: Sequence[str]):
        """Args:
        config: Hydra's, of the sweep as a whole.
        arguments: the overrides that were typed, without Hydra's own.
        """
        self.config_dir = config_dir(config.hydra)
        self.groups = Groups(self.config_dir)
        typed = [*config.hydra.overrides.hydra, *arguments]
        self.command = [text for text in typed if key(text) not in ("sweep.resume", "sweep.dry_run", "hydra.mode")]
        self.is_resumed = config.sweep.resume is not None
        self.stops = config.sweep.on_failure == "stop"
        self.is_left_alone = config.hydra.launcher.get("wait") is False
        self.folder = Path(config.hydra.sweep.dir)
        self.ledger = SweepResults(self.folder, monitor=config.monitor)
        self.id = ""
        """Tells this sweep from all others; settled by `plan`."""

    @property
    def is_over(self) -> bool:
        """Whether no more points are to be started, because one failed."""
        return self.stops and bool(self.ledger.failed)

    @contextmanager
    def underway(self) -> Iterator[None]:
        """Hold the folder while the block runs the points, and say at the end how each of them stands.

        Raises:
            UserError: another process holds the folder, it belongs to another sweep, or a point failed.
        """
        with lock_folder(self.folder), model_cache.keep_model():
            if not self.is_resumed and (self.folder / PLAN).exists():
                raise UserError(f"{self.folder} holds a sweep already; sweep.resume={self.folder} goes on with it")
            try:
                yield
            finally:
                if self.ledger.rows:
                    self.ledger.refresh()
                    print(f"\n{self.ledger.summary()}", flush=True)
        self._conclude()

    def plan(self, points: Sequence[SweepPoint], also: Mapping[str, Any] | None = None) -> list[SweepPoint]:
        """Settle what the sweep is to do, and write it down.

        Args:
            points: in order.
            also: what else must be the same when the sweep is taken up again.

        Returns:
            The points, under the numbers that they had before, and those that the sweep had besides.

        Raises:
            UserError: a point cannot be composed, or the sweep was another one.
        """
        before = kept.read_plan(self.folder) if self.is_resumed else None
        points = kept.numbered_as(before, points) if before else list(points)
        everything = {point.key: {**self._settings(point), **(also or {})} for point in points}
        HydraConfig.instance().cfg = None
        if before:
            kept.refuse_changes(before, everything)
        base = before["settings"] if before else everything[points[0].key]
        rows = {point.key: (point, differences(base, everything[point.key])) for point in points}
        for row in before["points"] if before else []:
            rows.setdefault(row["key"], (SweepPoint(row["point"], (), row["swept"]), row["differs"]))
        ordered = sorted(rows.values(), key=lambda row: row[0].number)
        self.id = before["id"] if before else uuid4().hex[:12]
        kept.write_plan(
            self.folder,
            id=self.id,
            command=self.command,
            config_dir=self.config_dir,
            settings=base,
            points=ordered,
        )
        return [point for point, _ in ordered]

    def waiting(self, points: Iterable[SweepPoint]) -> Iterator[SweepPoint]:
        """Those of the command's points that have not been run well yet, as long as the sweep goes on."""
        for point in points:
            if self.is_over:
                return
            if point.overrides and self.ledger.rows[point.number].status not in GOOD:
                yield point

    def note(self, point: SweepPoint, status: Status) -> None:
        """A point has ended."""
        report_failure(point, status)
        self.ledger.note(point, status)

    def _settings(self, point: SweepPoint) -> dict[str, Any]:
        try:
            return settings(self.groups, point)
        except CompositionError as error:
            raise UserError(f"this sweep cannot start: {error}") from error

    def _conclude(self) -> None:
        rows = list(self.ledger.rows.values())
        failed = [row for row in rows if row.point in self.ledger.failed]
        left = [row for row in rows if row.status not in (*GOOD, "failed")]
        if self.is_left_alone and not failed:
            print(
                f"how they stand: tinv status {self.folder}\nto wait for them: sweep.resume={self.folder}", flush=True
            )
            return
        if failed or left:
            not_run = f", {len(left)} not run" if left else ""
            lines = [f"{len(failed)} of {len(rows)} points failed{not_run}:", *_reasons(failed)]
            raise UserError("\n  ".join([*lines, f"sweep.resume={self.folder} runs what is left"]))


def _reasons(failed: Iterable[ResultRow]) -> Iterator[str]:
    """Each reason once, with the first point that had it."""
    by_reason: dict[str | None, list[ResultRow]] = {}
    for row in failed:
        by_reason.setdefault(row.reason, []).append(row)
    for reason, rows in by_reason.items():
        others = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        yield f"{SweepPoint(rows[0].point, (), rows[0].swept).label}{others}: {reason}"
