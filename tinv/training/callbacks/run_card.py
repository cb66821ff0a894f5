"""run.json: what ran, on which machine, for how long, and with which result."""

import os
import platform
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from tinv.errors import RunDiscarded, error_message
from tinv.runs.environment import get_command, get_git_state, get_versions, read_hydra_choices
from tinv.runs.files import write_json
from tinv.runs.layout import RUN_CARD
from tinv.runs.reader import RunReader
from tinv.training.callbacks.answer_requests import AnswerRequests
from tinv.training.callbacks.embedding_stats import EmbeddingStats
from tinv.training.callbacks.keep_best import KeepBest
from tinv.training.callbacks.stopping_rule import StoppingRule
from tinv.training.callbacks.timing import Stopwatch, Time, total_times

_INTERRUPTIONS = (KeyboardInterrupt, SIGTERMException, SystemExit)
_SESSION_KEYS = ("status", "reason", "started", "command", "git", "result", "seconds", "cpu_seconds")


class RunCard(Callback):
    """Writes the run card when training starts, after each validation, and when the run ends or fails.

    A resumed run lists its earlier sessions under `earlier`; a killed session has the status `killed` there. The card
    records no environment variables, and masks values that look like secrets.
    """

    def __init__(self, dir: Path | str):
        self.path, self.stopwatch = Path(dir) / RUN_CARD, Stopwatch()
        self.card: dict[str, Any] = {}
        self._created = self._validation_start = self._training_start = Time.now()
        self._phases_before = Time()

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Writes what runs, before the first step."""
        self._training_start, self._phases_before = Time.now(), _sum_of_phases(trainer)
        self.card = {
            "status": "running",
            "started": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            **_describe_run(trainer, pl_module),
            "command": get_command(),
            "hydra": read_hydra_choices(self.path.parent),
            "git": get_git_state(),
            "versions": get_versions(),
            "machine": _get_machine(trainer.strategy.root_device),
            "result": {},
            "seconds": {},
            "cpu_seconds": {},
            "earlier": self._earlier_sessions() if trainer.global_step else [],
        }
        self._write(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Starts the phase `validation`."""
        self._validation_start = Time.now()

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Writes the current result."""
        self.stopwatch.add("validation", Time.now() - self._validation_start)
        if self.card and not trainer.sanity_checking:
            self._write(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Writes the final result, unless there was nothing left to train."""
        if self.card:
            self.card["status"] = "finished"
            self._write(trainer)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Writes why the run failed."""
        if not self.card:
            return
        interrupted = "interrupted" if isinstance(exception, _INTERRUPTIONS) else "failed"
        self.card["status"] = "discarded" if isinstance(exception, RunDiscarded) else interrupted
        self.card["reason"] = error_message(exception)
        self._write(trainer)

    def _write(self, trainer: Any) -> None:
        if not trainer.is_global_zero:
            return
        result = {"steps": trainer.global_step}
        result |= {name: float(value) for name, value in trainer.callback_metrics.items() if "/" in name}
        for callback in trainer.callbacks:
            if isinstance(callback, EmbeddingStats):
                result["embedding_stats"] = callback.latest
            elif isinstance(callback, StoppingRule | KeepBest | AnswerRequests):
                result |= callback.run_card_entry
        self.card["result"], self.card["max_steps"] = result, trainer.max_steps  # which a request can extend
        for task in (self.card, *self.card.get("extra_concepts", [])):
            task["images_seen"] = task["effective_batch"] * trainer.max_steps
        times = self._times(trainer)
        self.card["seconds"] = {phase: round(time.wall, 2) for phase, time in times.items()}
        self.card["cpu_seconds"] = {phase: round(time.cpu, 2) for phase, time in times.items()}
        write_json(self.path, self.card)

    def _times(self, trainer: Any) -> dict[str, Time]:
        """Returns the time of each phase; `training` is the time since its start that no other phase accounts for."""
        now = Time.now()
        return {
            **total_times(trainer.callbacks),
            "training": now - self._training_start - (_sum_of_phases(trainer) - self._phases_before),
            "total": now - self._created,
        }

    def _earlier_sessions(self) -> list[dict[str, Any]]:
        """Returns the sessions that an existing run card describes."""
        run = RunReader(self.path.parent)
        card = run.card
        for problem in run.describe_problems():
            rank_zero_only(warnings.warn)(f"{problem}. What it says about earlier sessions is lost.", stacklevel=1)
        if not card:
            return []
        if card.get("status") == "running":
            card["status"] = "killed"
        return [*run.earlier_sessions, {key: card[key] for key in _SESSION_KEYS if key in card}]


def _sum_of_phases(trainer: Any) -> Time:
    return sum(total_times(trainer.callbacks).values(), Time())


def _describe_run(trainer: Any, pl_module: Any) -> dict[str, Any]:
    """Returns the concept, its training images and settings; further concepts are under `extra_concepts`."""
    paces = pl_module.effective_batches(trainer, trainer.datamodule)
    first, *extra_concepts = [
        {
            "concept": {
                "placeholder_token": token.placeholder_token,
                "initializer_token": token.concept.initializer_token,
                "kind": token.concept.kind,
                "num_vectors": {name: len(vectors) for name, vectors in token.embedding.weights.items()},
            },
            "images": [path.name for path in part.images],
            "effective_batch": pace.size,
            "learning_rate": pace.scaled_lr,
            "batch_and_rate": str(pace),
        }
        for token, part, pace in zip(pl_module.learned_tokens, trainer.datamodule.datamodules, paces, strict=True)
    ]
    return {
        **first,
        **({"extra_concepts": extra_concepts} if extra_concepts else {}),
        "model": {"name": pl_module.model.name, "fingerprint": pl_module.model.fingerprint},
        "seed": pl_module.seed,
        "resumed_at": trainer.global_step or None,
        "precision": str(trainer.precision),
        "processes": trainer.world_size,
    }


def _get_machine(device: torch.device) -> dict[str, Any]:
    """Returns the platform, the number of cores and threads, and the training device."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "platform": platform.platform(),
        "device": device.type,
        "device_name": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
