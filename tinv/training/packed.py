"""The process of `hydra/launcher=packed`: several points at once, whose calls of the frozen model are joined.

It reads points from standard input and writes events to standard output, one JSON object a line:

- `{"point": 3, "label": "point 3 (lr=0.001)", "overrides": [...], "dir": "..."}` asks it to run a point.
- `{"free": 2}` asks for two points more. `{"ended": 3}` says that a point has ended; its status.json says how.
- `{"lanes": [{"point": 3, "step": 40, ...}]}` is the progress of the points that run.

When standard input ends, it runs the points that it has, and exits.
"""

import gc
import json
import os
import sys
import threading
import traceback
import warnings
from argparse import ArgumentParser, Namespace
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Queue
from time import monotonic
from typing import Any, TextIO

from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log, run_job
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from tinv.config import secrets, startup
from tinv.config.compose import Groups
from tinv.config.validate import ConfigError, check
from tinv.errors import RunInterrupted, UserError
from tinv.runs import signals
from tinv.runs.folder_lock import lock_run
from tinv.runs.lane import RunLane, route_output, run_in_lane
from tinv.runs.layout import LOG
from tinv.runs.parent_process import children_end_with_this_process, end_with_parent
from tinv.runs.reader import RunReader
from tinv.runs.record_status import record_status
from tinv.runs.status import TIME_FORMAT
from tinv.sweeps.child_process import quote_path
from tinv.sweeps.packed_conflicts import find_conflicts, group_key
from tinv.training.interruption import find_interruption
from tinv.training.main import freeze_time, register

_POLL_S, _REPORT_S = 0.1, 1.0


@dataclass(frozen=True)
class Point:
    """A point whose settings are checked."""

    number: int
    label: str
    overrides: list[str]
    run_dir: Path
    cfg: DictConfig
    key: str
    """Points with equal keys can share a model."""


class Lane(threading.Thread):
    """The thread of a point."""

    def __init__(self, point: Point, group: Any):
        super().__init__(name=point.label, daemon=True)
        self.point, self._group = point, group
        self.run_lane = RunLane(point.label, group.get_model)
        self.has_lacked_memory = False

    def run(self) -> None:
        """Trains, and records the run's status."""
        with run_in_lane(self.run_lane, self.point.run_dir / LOG), self._group.batcher.lane(self.point.label) as lane:
            self._group.lanes[threading.get_ident()] = lane
            try:
                with lock_run(self.point.run_dir), record_status(self.point.run_dir) as status:
                    status.value = self._train()
            except UserError as error:
                print(secrets.hide(str(error)), file=sys.stderr, flush=True)
            except BaseException as error:
                self.has_lacked_memory = self._group.is_out_of_memory(error)
                if not isinstance(error, RunInterrupted):
                    print(secrets.hide(traceback.format_exc()), file=sys.stderr, flush=True)

    def _train(self) -> float | None:
        from tinv.training.run import train

        try:
            return train(self.point.cfg)
        except BaseException as error:
            if (interruption := find_interruption(error)) not in (None, error):
                raise interruption from error
            raise


class PackedProcess:
    """Runs the points that it gets, in as many lanes as fit and help."""

    def __init__(self, options: Namespace, events: TextIO):
        from tinv.training.lane_group import LaneGroup, LaneLimit  # imports torch

        self._events, self._groups, self._timeout_s = events, Groups(options.config_dir), options.timeout
        self._new_group = LaneGroup
        self._group: LaneGroup | None = None
        self._limit = LaneLimit(options.lanes, options.memory_fraction)
        self._inbox: Queue[dict[str, Any] | None] = Queue()
        self._waiting: deque[Point] = deque()
        self._lanes: list[Lane] = []
        self._num_requested, self._is_last, self._reported_at = 0, False, 0.0

    def serve(self, lines: TextIO) -> None:
        """Runs points until the input ends, or a signal does it.

        Raises:
            RunInterrupted: after a signal, when all lanes have saved.
        """
        threading.Thread(target=self._read, args=[lines], daemon=True).start()
        while True:
            self._end_lanes()
            self._start_lanes()
            if not self._lanes and (signals.received_signal() or (self._is_last and not self._waiting)):
                break
            self._report()
            self._receive()
        if number := signals.received_signal():
            raise RunInterrupted(number)

    def _read(self, lines: TextIO) -> None:
        for line in lines:
            self._inbox.put(json.loads(line))
        self._inbox.put(None)

    def _receive(self) -> None:
        with suppress(Empty):
            while True:
                message = self._inbox.get(timeout=_POLL_S)
                self._is_last |= message is None
                if message is not None:
                    self._num_requested -= 1
                    self._accept(message)

    def _accept(self, message: dict[str, Any]) -> None:
        run_dir = Path(message["dir"])
        try:
            cfg = self._compose(message["overrides"], run_dir)
        except Exception as error:
            self._refuse(run_dir, error)
            self._send(ended=message["point"])
            return
        self._waiting.append(
            Point(message["point"], message["label"], message["overrides"], run_dir, cfg, group_key(cfg))
        )

    def _compose(self, overrides: list[str], run_dir: Path) -> DictConfig:
        """Returns the checked settings of a point, and writes Hydra's files into its folder."""
        tree = self._groups.load([*overrides, f"hydra.run.dir={quote_path(run_dir)}", "hydra.mode=RUN"])
        status = RunReader(run_dir).status
        freeze_time((status and status.first_started) or f"{datetime.now(UTC):{TIME_FORMAT}}")
        context = HydraContext(config_loader=self._groups.loader, callbacks=Callbacks(tree))
        HydraConfig.instance().set_config(tree)

        def finalize(cfg: DictConfig) -> Any:
            OmegaConf.get_cache(cfg).pop("now", None)
            if conflicts := find_conflicts(cfg):
                raise ConfigError(conflicts)
            return check(cfg)

        job = run_job(finalize, tree, "hydra.run.dir", None, context, configure_logging=False)
        cfg: DictConfig = job.return_value
        return cfg

    def _refuse(self, run_dir: Path, error: Exception) -> None:
        with suppress(type(error)), record_status(run_dir):
            raise error
        (run_dir / LOG).open("a", encoding="utf-8").write(f"{secrets.hide(str(error))}\n")

    def _start_lanes(self) -> None:
        if signals.received_signal():
            return
        while self._waiting and len(self._lanes) < self._limit.lanes:
            if self._group is None or self._group.key != self._waiting[0].key:
                if self._lanes:
                    return
                self._change_group(self._waiting[0])
            self._lanes.append(Lane(self._waiting.popleft(), self._group))
            self._lanes[-1].start()
        self._limit.update(self._group, len(self._lanes))
        num_free = self._limit.lanes - len(self._lanes) - len(self._waiting) - self._num_requested
        if num_free > 0 and not self._waiting and not self._is_last:
            self._num_requested += num_free
            self._send(free=num_free)

    def _change_group(self, point: Point) -> None:
        if self._group is not None:
            self._group.close()
            self._group = None
            gc.collect()
        accelerator = point.cfg.trainer.get("accelerator", "auto")
        self._group = self._new_group(point.key, accelerator=accelerator, timeout_s=self._timeout_s)
        self._limit.reset()

    def _end_lanes(self) -> None:
        for lane in [lane for lane in self._lanes if not lane.is_alive()]:
            self._lanes.remove(lane)
            if lane.has_lacked_memory and self._limit.lower(len(self._lanes)):
                overrides = [text for text in lane.point.overrides if not text.startswith("resume=")]
                cfg = self._compose([*overrides, "resume=auto"], lane.point.run_dir)
                point = lane.point
                self._waiting.appendleft(Point(point.number, point.label, overrides, point.run_dir, cfg, point.key))
            else:
                self._send(ended=lane.point.number)

    def _report(self) -> None:
        if monotonic() - self._reported_at >= _REPORT_S:
            self._reported_at = monotonic()
            self._send(
                lanes=[
                    {"point": lane.point.number, "label": lane.point.label, **lane.run_lane.progress}
                    for lane in self._lanes
                ]
            )

    def _send(self, **event: Any) -> None:
        with suppress(BrokenPipeError):
            self._events.write(json.dumps(event) + "\n")
            self._events.flush()


def parse_options(arguments: list[str]) -> Namespace:
    """Parses what the launcher passes."""
    parser = ArgumentParser()
    parser.add_argument("--config-dir")
    parser.add_argument("--lanes", type=int)
    parser.add_argument("--memory-fraction", type=float, default=0.9)
    parser.add_argument("--timeout", type=float, default=600.0)
    return parser.parse_args(arguments)


def main() -> None:
    """Runs the process."""
    end_with_parent()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no event
    options = parse_options(sys.argv[1:])
    sys.argv[1:] = []
    with signals.handle_signals(), children_end_with_this_process():
        signals.defer(True)
        register()
        configure_log(Groups(options.config_dir).load([]).hydra.hydra_logging, False)
        with startup.imports():
            import tinv.training.run  # noqa: F401
        warnings.simplefilter("default", UserWarning)
        route_output()
        PackedProcess(options, events).serve(sys.stdin)


if __name__ == "__main__":
    main()
