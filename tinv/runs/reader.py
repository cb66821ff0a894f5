"""Reads all files of a run folder and of a sweep folder, without torch.

Every file may be missing, incomplete or damaged. A reader then returns None (or an empty collection) for its contents,
of metrics.csv what can be read, and `problems` says why, by file name. No reader raises an error.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tinv.runs import layout
from tinv.runs.metrics_table import Rows, parse_metrics
from tinv.runs.status import Progress, Status
from tinv.runs.typed import to_type

T = TypeVar("T")
Curve = list[tuple[int, float]]
"""The finite values of a metric, by step."""


class FolderReader:
    """Reads the files of a folder, each of them once."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.problems: dict[str, str] = {}
        """Why a file could not be read, by its name in the folder. A missing file is no problem."""

    def read_object(self, name: str) -> dict[str, Any] | None:
        """Returns the object in a JSON file."""
        return self._load(name, _json_object)

    def describe_problems(self) -> list[str]:
        """Returns a message for each file that was read and is damaged."""
        return [f"{self.folder / name} is damaged ({problem})" for name, problem in self.problems.items()]

    def _load(self, name: str, parse: Callable[[bytes], T]) -> T | None:
        try:
            return parse((self.folder / name).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # a parser can fail on damaged contents in any way
            kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
            self.problems[name] = f"{kind}{str(error).strip().partition(chr(10))[0]}".rstrip(": ")
            return None

    def read_tail(self, name: str, max_bytes: int) -> str:
        """Returns a text file, or its last bytes if it is longer; empty if it cannot be read."""
        try:
            with (self.folder / name).open("rb") as file:
                file.seek(start := max(0, file.seek(0, 2) - max_bytes))
                text = file.read(max_bytes).decode("utf-8", errors="replace")
        except OSError:
            return ""
        return text if not start else "... " + text.partition("\n")[2]


class RunReader(FolderReader):
    """Reads the folder of a run, whether the run has ended or not."""

    @cached_property
    def exists(self) -> bool:
        """Whether the folder is a run folder."""
        return any((self.folder / name).is_file() for name in layout.RUN_FILES)

    @cached_property
    def status(self) -> Status | None:
        """status.json."""
        return self._load(layout.STATUS, lambda content: to_type(Status, _json_object(content)))

    @cached_property
    def progress(self) -> Progress | None:
        """progress.json."""
        return self._load(layout.PROGRESS, lambda content: to_type(Progress, _json_object(content)))

    @cached_property
    def last_written(self) -> float | None:
        """The time at which the run last wrote its status or progress, in seconds since the epoch."""
        paths = (self.folder / name for name in (layout.STATUS, layout.PROGRESS))
        return max((path.stat().st_mtime for path in paths if path.is_file()), default=None)

    @cached_property
    def trial(self) -> dict[str, Any] | None:
        """trial.json: `study`, an object, and `trial`, a number."""
        trial = self._load(layout.TRIAL, _json_object)
        if trial is not None and not (isinstance(trial.get("study"), dict) and isinstance(trial.get("trial"), int)):
            self.problems[layout.TRIAL] = "it names no study or no trial"
            return None
        return trial

    @cached_property
    def metrics(self) -> Rows:
        """metrics.csv, what can be read of it."""
        rows, problem = self._load(layout.METRICS, parse_metrics) or ({}, "")
        if problem:
            self.problems[layout.METRICS] = problem
        return rows

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """The finite values of each metric."""
        curves: dict[str, Curve] = {}
        for step, row in self.metrics.items():
            for name, text in row.items():
                if (value := parse_finite(text)) is not None:
                    curves.setdefault(name, []).append((step, value))
        return curves

    def last_value(self, metric: str | None) -> float | None:
        """Returns the last finite value of a metric."""
        return curve[-1][1] if (curve := self.curves.get(metric or "")) else None

    @cached_property
    def evaluation(self) -> dict[str, Any] | None:
        """evaluation.json."""
        return self._load(layout.EVALUATION, _json_object)

    @cached_property
    def scores(self) -> dict[str, float]:
        """The finite numbers of evaluation.json, or of its object `scores` alone; of inner objects as `outer.inner`."""
        scores = (self.evaluation or {}).get("scores")
        return dict(_numbers(scores if isinstance(scores, dict) else self.evaluation or {}))

    @cached_property
    def config(self) -> dict[str, Any] | None:
        """The composed config, with its interpolations as they are written."""
        return self._load(layout.HYDRA_CONFIG, _yaml_mapping)

    @cached_property
    def overrides(self) -> list[str] | None:
        """The overrides of the command line."""
        content = self._load(layout.HYDRA_OVERRIDES, lambda data: _require(list, yaml.safe_load(data), "YAML list"))
        return content and [str(item) for item in content]

    @cached_property
    def choices(self) -> dict[str, Any]:
        """The chosen option of each config group."""
        return _as_dict(self._hydra_runtime.get("choices"))

    @cached_property
    def working_dir(self) -> Path | None:
        """The working directory of the command, to which its relative paths refer."""
        return Path(folder) if isinstance(folder := self._hydra_runtime.get("cwd"), str) else None

    @cached_property
    def _hydra_runtime(self) -> dict[str, Any]:
        content = self._load(layout.HYDRA_RUNTIME, _yaml_mapping) or {}
        return _as_dict(_as_dict(content.get("hydra")).get("runtime"))

    @cached_property
    def samples(self) -> dict[int, list[Path]]:
        """The sheets of samples by step, one for each concept."""
        sheets: dict[int, list[Path]] = {}
        for folder in layout.concept_dirs(self.folder):
            for step, path in layout.list_samples(folder).items():
                sheets.setdefault(step, []).append(path)
        return dict(sorted(sheets.items()))

    @cached_property
    def requested_samples(self) -> dict[int, list[Path]]:
        """The sheets of samples that were drawn on request, by step."""
        return layout.list_requested_samples(self.folder)

    @cached_property
    def embeddings(self) -> list[Path]:
        """The files of the final embeddings."""
        return [path for folder in layout.concept_dirs(self.folder) for path in layout.list_embeddings(folder)]

    @cached_property
    def card(self) -> dict[str, Any]:
        """run.json; empty if there is none."""
        return self._load(layout.RUN_CARD, _json_object) or {}

    def card_section(self, name: str) -> dict[str, Any]:
        """Returns an object of run.json; empty if there is none."""
        return _as_dict(self.card.get(name))

    @property
    def earlier_sessions(self) -> list[dict[str, Any]]:
        """The sessions before the last one in run.json."""
        return [session for session in _as_list(self.card.get("earlier")) if isinstance(session, dict)]

    @property
    def training_seconds(self) -> float:
        """The training time of all sessions in run.json."""
        times = [_as_dict(session.get("seconds")) for session in (self.card, *self.earlier_sessions)]
        return sum(parse_finite(time.get("training")) or 0.0 for time in times)

    @property
    def concepts(self) -> list[dict[str, Any]]:
        """The concepts in run.json."""
        tasks = [self.card, *_as_list(self.card.get("extra_concepts"))]
        return [concept for task in tasks if isinstance(concept := _as_dict(task).get("concept"), dict)]

    @property
    def placeholder_tokens(self) -> list[str]:
        """The placeholder tokens in run.json."""
        return [str(concept["placeholder_token"]) for concept in self.concepts if concept.get("placeholder_token")]

    @property
    def last_step(self) -> int | None:
        """The last step that has a metric or samples."""
        return max([*(curve[-1][0] for curve in self.curves.values()), *self.samples], default=None)

    @property
    def max_steps(self) -> int | None:
        """The planned number of optimizer steps, from run.json."""
        return steps if isinstance(steps := self.card.get("max_steps"), int) and steps > 0 else None


@dataclass(frozen=True)
class SweepPointReader:
    """A point of a sweep, with the reader of its run."""

    number: int
    swept: Mapping[str, str]
    """The swept settings with their values."""
    run: RunReader
    recorded: Status
    """What sweep.json says, which can be older than the run's own status."""

    @cached_property
    def state(self) -> Status:
        """The status that the run wrote itself; that in sweep.json if the run was killed."""
        own = self.run.status
        return own if own and (own.has_ended or self.recorded.status in ("waiting", "running")) else self.recorded


class SweepReader(FolderReader):
    """Reads the folder of a sweep."""

    @property
    def exists(self) -> bool:
        """Whether the folder is a sweep folder with a readable plan or results."""
        return bool(self.plan or self.results)

    @cached_property
    def plan(self) -> dict[str, Any] | None:
        """plan.json."""
        return self._load(layout.PLAN, _json_object)

    @cached_property
    def results(self) -> dict[str, Any] | None:
        """sweep.json."""
        return self._load(layout.SWEEP_RESULTS, _json_object)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings that all points have in common, from plan.json."""
        return _as_dict((self.plan or {}).get("settings"))

    @cached_property
    def monitor(self) -> str | None:
        """The metric that points are compared by."""
        return str(monitor) if (monitor := (self.results or self.settings).get("monitor")) else None

    @cached_property
    def points(self) -> list[SweepPointReader]:
        """The points of plan.json and sweep.json, by number."""
        lists = [_as_list((source or {}).get("points")) for source in (self.plan, self.results)]
        rows = {row["point"]: row for row in map(_as_dict, chain(*lists)) if type(row.get("point")) is int}
        return [self._point(number, row) for number, row in sorted(rows.items())]

    def _point(self, number: int, row: Mapping[str, Any]) -> SweepPointReader:
        swept = {str(key): str(value) for key, value in _as_dict(row.get("swept")).items()}
        try:
            recorded = to_type(Status, {"status": "waiting", **row})
        except ValueError:
            recorded = Status("waiting")
        return SweepPointReader(number, swept, RunReader(self.folder / str(number)), recorded)


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _require(cls: type[T], content: Any, description: str) -> T:
    if not isinstance(content, cls):
        raise ValueError(f"no {description}")
    return content


def _json_object(content: bytes) -> dict[str, Any]:
    return _require(dict, json.loads(content.decode("utf-8")), "JSON object")


def _yaml_mapping(content: bytes) -> dict[str, Any]:
    return _require(dict, yaml.safe_load(content), "YAML mapping")


def _numbers(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{key}.")
        elif not isinstance(value, bool | str) and (number := parse_finite(value)) is not None:
            yield f"{prefix}{key}", number


def parse_finite(value: Any) -> float | None:
    """Returns a value as a number, or None if it is not a finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
