"""run.json: what ran, on what, for how long, and what came of it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from tinv.runs.environment import command_line, git_state, hydra_choices, machine, versions
from tinv.runs.files import write_json
from tinv.runs.layout import RUN_CARD
from tinv.runs.reader import RunReader
from tinv.training.callbacks.embedding_stats import EmbeddingStats
from tinv.training.callbacks.keep_best import KeepBest
from tinv.training.callbacks.stopping import Stopping
from tinv.training.callbacks.timing import Stopwatch, Time, add_up

_INTERRUPTIONS = (KeyboardInterrupt, SIGTERMException, SystemExit)


class RunCard(Callback):
    """Writes the card when training starts, after each validation, and at the end, whichever end it is.

    A run that goes on later keeps its earlier sessions under `earlier`; one that was killed is found there as
    `killed`. Nothing of the environment is recorded, and values that look like secrets are masked.
    """

    def __init__(self, dir: Path | str):
        """Args:
        dir: the run's folder.
        """
        self.path = Path(dir) / RUN_CARD
        self.stopwatch = Stopwatch()
        self.card: dict[str, Any] = {}
        self._made = self._validation_began = self._training_began = Time.now()
        self._before = Time()

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """What runs; written before the first step."""
        self._training_began, self._before = Time.now(), _phases(trainer)
        self.card = {
            "status": "running",
            "started": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            **_subject(trainer, pl_module),
            "command": command_line(),
            "hydra": hydra_choices(self.path.parent),
            "git": git_state(),
            "versions": versions(),
            "machine": machine(trainer.strategy.root_device),
            "result": {},
            "seconds": {},
            "cpu_seconds": {},
            "earlier": self._earlier_sessions() if trainer.global_step else [],
        }
        self._write(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Validation is a phase of its own."""
        self._validation_began = Time.now()

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """How it stands."""
        self.stopwatch.add("validation", Time.now() - self._validation_began)
        if self.card and not trainer.sanity_checking:
            self._write(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """It went well; if there was nothing left to train, the card there is stays."""
        if self.card:
            self.card["status"] = "finished"
            self._write(trainer)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """It did not, and why."""
        if not self.card:
            return
        self.card["status"] = "interrupted" if isinstance(exception, _INTERRUPTIONS) else "failed"
        self.card["reason"] = f"{type(exception).__name__}: {exception}".strip(": ")
        self._write(trainer)

    def _write(self, trainer: Any) -> None:
        if not trainer.is_global_zero:
            return
        numbers = {name: float(value) for name, value in trainer.callback_metrics.items() if "/" in name}
        vitals = [callback.latest for callback in trainer.callbacks if isinstance(callback, EmbeddingStats)]
        told = {k: v for c in trainer.callbacks if isinstance(c, Stopping | KeepBest) for k, v in c.told.items()}
        self.card["result"] = {
            "steps": trainer.global_step,
            **numbers,
            **({"vitals": vitals[0]} if vitals else {}),
            **told,
        }
        times = self._times(trainer)
        self.card["seconds"] = {name: round(time.clock, 2) for name, time in times.items()}
        self.card["cpu_seconds"] = {name: round(time.processor, 2) for name, time in times.items()}
        write_json(self.path, self.card)

    def _times(self, trainer: Any) -> dict[str, Time]:
        """By phase, beside the total; training is what no other phase has of the time since it began."""
        now = Time.now()
        return {
            **add_up(trainer.callbacks).times,
            "training": now - self._training_began - (_phases(trainer) - self._before),
            "total": now - self._made,
        }

    def _earlier_sessions(self) -> list[dict[str, Any]]:
        """What a card already there tells of the sessions before this one."""
        card = RunReader(self.path.parent).card
        if not card:
            return []
        if card.get("status") == "running":
            card["status"] = "killed"
        kept = ("status", "reason", "started", "command", "git", "result", "seconds", "cpu_seconds")
        return [*card.get("earlier", []), {key: card[key] for key in kept if key in card}]


def _phases(trainer: Any) -> Time:
    return sum(add_up(trainer.callbacks).times.values(), Time())


def _subject(trainer: Any, pl_module: Any) -> dict[str, Any]:
    """What is learned, from what, with which settings of weight; the concepts beside the first are under `others`."""
    paces = pl_module.effective_batches(trainer, trainer.datamodule)
    first, *others = [
        {
            "concept": {
                "placeholder_token": word.placeholder_token,
                "initializer_token": word.concept.initializer_token,
                "kind": word.concept.kind,
                "num_vectors": {name: len(rows) for name, rows in word.embedding.weights.items()},
            },
            "images": [path.name for path in part.images],
            "effective_batch": pace.size,
            "learning_rate": pace.scaled_lr,
            "pace": str(pace),
            "images_seen": pace.size * trainer.max_steps,
        }
        for word, part, pace in zip(pl_module.learned_tokens, trainer.datamodule.datamodules, paces, strict=True)
    ]
    return {
        **first,
        **({"extra_concepts": others} if others else {}),
        "model": {"name": pl_module.model.name, "fingerprint": pl_module.model.fingerprint},
        "seed": pl_module.seed,
        "max_steps": trainer.max_steps,
        "resumed_at": trainer.global_step or None,
        "precision": str(trainer.precision),
        "processes": trainer.world_size,
    }
