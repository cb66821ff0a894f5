"""A sweep while it runs, for any sweeper: its folder, its results, and what happens after a failure."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from tinv.errors import RunInterrupted, UserError
from tinv.runs.folder_lock import lock_folder, remove_temporary_files
from tinv.runs.layout import PLAN
from tinv.runs.status import Status
from tinv.sweeps import model_cache
from tinv.sweeps.child_process import user_config_dir
from tinv.sweeps.launchers import report_failure
from tinv.sweeps.plan import SweepPlan
from tinv.sweeps.plan_file import check_unchanged, read_plan, renumber, write_plan
from tinv.sweeps.points import SweepPoint, differences
from tinv.sweeps.results import COMPLETED, SweepResults
from tinv.sweeps.results_table import ResultRow


class PlannedSweeper(Sweeper):
    """Base class of tinv's sweepers. `tinv.training.main` sets the plan before it calls `sweep`."""

    plan: SweepPlan
    config: DictConfig
    launcher: Launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Stores the configuration and builds the launcher."""
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )


class SweepRun:
    """A sweep in its folder, new or resumed."""

    def __init__(self, config: DictConfig, plan: SweepPlan):
        """Args:
        config: Hydra's configuration of the sweep as a whole.
        plan: the plan of the command.
        """
        self.plan = plan
        self.config_dir = user_config_dir(config.hydra)
        self.is_resumed = config.sweep.resume is not None
        self.stops_on_failure = config.sweep.on_failure == "stop"
        self.only_submits = config.hydra.launcher.get("wait") is False
        self.folder = Path(config.hydra.sweep.dir)
        self.results = SweepResults(self.folder, monitor=config.monitor)
        self.id = ""
        """Identifies this sweep; `start` sets it."""

    @property
    def is_over(self) -> bool:
        """Whether no more points start, because one failed."""
        return self.stops_on_failure and bool(self.results.failed)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Locks the folder while the block runs the points, then print the results.

        Raises:
            UserError: another process uses the folder, it belongs to another sweep, or a point failed.
        """
        refusal = f"hydra.sweep.dir={self.folder}: another process runs this sweep. Wait for it, or use another folder."
        with lock_folder(self.folder, refusal), model_cache.keep_model():
            remove_temporary_files(self.folder)
            if not self.is_resumed and (self.folder / PLAN).exists():
                raise UserError(
                    f"hydra.sweep.dir={self.folder}: the folder holds a sweep already. "
                    f"Resume it with sweep.resume={self.folder}."
                )
            try:
                yield
            except RunInterrupted as interruption:
                interruption.advice = f"to go on: sweep.resume={self.folder}"
                raise
            finally:
                if self.results.rows:
                    self.results.refresh()
                    print(f"\n{self.results.summary()}", flush=True)
        self._conclude()

    def start(self) -> list[SweepPoint]:
        """Writes the plan into the folder and return its points.

        A resumed sweep keeps the numbers of its points. Its points that this command does not have are returned
        without overrides.

        Raises:
            UserError: the sweep in the folder has other points or other settings.
        """
        previous = read_plan(self.folder) if self.is_resumed else None
        points, settings = list(self.plan.points), self.plan.settings
        if previous:
            points = renumber(previous, points)
            check_unchanged(previous, settings)
        shared = previous.settings if previous else settings[points[0].key]
        rows = {point.key: (point, differences(shared, settings[point.key])) for point in points}
        for row in previous.points if previous else []:
            rows.setdefault(row.key, (SweepPoint(row.point, (), row.swept), row.differs))
        ordered = sorted(rows.values(), key=lambda row: row[0].number)
        self.id = previous.id if previous else uuid4().hex[:12]
        write_plan(
            self.folder,
            id=self.id,
            command=self.plan.command,
            config_dir=self.config_dir,
            settings=shared,
            points=ordered,
        )
        return [point for point, _ in ordered]

    def remaining(self, points: Iterable[SweepPoint]) -> Iterator[SweepPoint]:
        """Yields the points of this command that are not completed, until the sweep stops."""
        for point in points:
            if self.is_over:
                return
            if point.overrides and self.results.rows[point.number].status not in COMPLETED:
                yield point

    def record(self, point: SweepPoint, status: Status) -> None:
        """Records how a point ended."""
        report_failure(point, status)
        self.results.record(point, status)

    def _conclude(self) -> None:
        rows = list(self.results.rows.values())
        failed = [row for row in rows if row.point in self.results.failed]
        num_left = sum(row.status not in (*COMPLETED, "failed") for row in rows)
        if self.only_submits and not failed:
            print(
                f"to see their progress: tinv status {self.folder}\nto wait for them: sweep.resume={self.folder}",
                flush=True,
            )
            return
        if failed or num_left:
            not_run = f", {num_left} not run" if num_left else ""
            lines = [f"{len(failed)} of {len(rows)} points failed{not_run}:", *_reasons(failed)]
            raise UserError("\n  ".join([*lines, f"sweep.resume={self.folder} runs what is left"]))


def _reasons(failed: Iterable[ResultRow]) -> Iterator[str]:
    """Yields each reason once, with the first point that failed for it."""
    by_reason: dict[str | None, list[ResultRow]] = {}
    for row in failed:
        by_reason.setdefault(row.reason, []).append(row)
    for reason, rows in by_reason.items():
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        yield f"{SweepPoint(rows[0].point, (), rows[0].swept).label}{more}: {reason}"
