"""Reads what W&B's client has written for a run from its own files."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb

from tinv.training.loggers.wandb_datastore import read_records


@dataclass
class Session:
    """One file of the client: a session of a run."""

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

    def metrics_by_step(self) -> dict[int, dict[str, float]]:
        """Returns the rows without images, tables and what the client adds."""
        media = ("samples/table/", *(f"samples/{field_name}" for field_name in ("size", "width", "height")))
        return {
            step: {n: v for n, v in row.items() if isinstance(v, int | float) and not n.startswith(("_", *media))}
            for step, row in self.history.items()
        }

    def file(self, key: str, step: int) -> Path:
        """Returns the path of an image of a row."""
        return self.folder / "files" / self.history[step][f"{key}/path"]

    def table(self, number: int) -> tuple[dict[str, Any], dict[str, Path]]:
        """Returns one of the logged tables and its files by path."""
        artifact_of_table = [artifact for artifact in self.artifacts if artifact.type == "run_table"][number]
        files = {entry.path: Path(entry.local_path) for entry in artifact_of_table.manifest.contents}
        return json.loads(next(path for name, path in files.items() if name.endswith(".json")).read_text()), files


def read_sessions(run: Path) -> list[Session]:
    """Returns the sessions of a run, oldest first."""
    wandb.teardown()  # ends the client's own process, which writes the files
    return [_read(path) for path in sorted(run.glob("wandb/*run-*/run-*.wandb"), key=lambda path: path.parent.name)]


def _read(path: Path) -> Session:
    session = Session(path.parent)
    for record in read_records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            session.run = record.run
            session.config |= _to_dict(record.run.config.update)
        elif kind == "history":
            session.order.append(record.history.step.num)
            session.history[record.history.step.num] = _to_dict(record.history.item)
        elif kind == "config":
            session.config |= _to_dict(record.config.update)
        elif kind == "summary":
            session.summary |= _to_dict(record.summary.update)
        elif kind == "artifact":
            session.artifacts.append(record.artifact)
        elif kind == "metric":
            session.metrics[record.metric.name or record.metric.glob_name] = record.metric
        elif kind == "exit":
            session.exit_code = record.exit.exit_code
    return session


def _to_dict(items: Iterable[Any]) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
