"""What W&B's client has written about a run, read back from its own file."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb

from tinv.training.loggers.wandb_datastore import read_records


@dataclass
class Session:
    """One file of the client: a run, or the part of it between two starts."""

    folder: Path
    run: Any = None
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By step, in the order in which they came."""
    order: list[int] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    is_preempting: bool = False

    def numbers(self) -> dict[int, dict[str, float]]:
        """The rows without pictures, tables and what the client adds."""
        media = ("samples/table/", *(f"samples/{about}" for about in ("size", "width", "height")))
        return {
            step: {n: v for n, v in row.items() if isinstance(v, int | float) and not n.startswith(("_", *media))}
            for step, row in self.history.items()
        }

    def file(self, key: str, step: int) -> Path:
        """A picture of a row."""
        return self.folder / "files" / self.history[step][f"{key}/path"]

    def table(self, number: int) -> tuple[dict[str, Any], dict[str, Path]]:
        """One of the tables that were logged, and the files that it speaks of."""
        kept = [artifact for artifact in self.artifacts if artifact.type == "run_table"][number]
        files = {entry.path: Path(entry.local_path) for entry in kept.manifest.contents}
        return json.loads(next(path for name, path in files.items() if name.endswith(".json")).read_text()), files


def sessions(run: Path) -> list[Session]:
    """Those of a run, oldest first."""
    wandb.teardown()  # the client's own process writes the files, and has now ended
    files = sorted(run.glob("wandb/*run-*/run-*.wandb"), key=lambda path: path.parent.name)
    return [_read(path) for path in files]


def _read(path: Path) -> Session:
    found = Session(path.parent)
    for record in read_records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = record.run
            found.config |= _named(record.run.config.update)
        elif kind == "history":
            found.order.append(record.history.step.num)
            found.history[record.history.step.num] = _named(record.history.item)
        elif kind == "config":
            found.config |= _named(record.config.update)
        elif kind == "summary":
            found.summary |= _named(record.summary.update)
        elif kind == "artifact":
            found.artifacts.append(record.artifact)
        elif kind == "metric":
            found.metrics[record.metric.name or record.metric.glob_name] = record.metric
        elif kind == "preempting":
            found.is_preempting = True
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def _named(items: Iterable[Any]) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
