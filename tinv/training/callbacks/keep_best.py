"""The best embedding of a run, which need not be the last."""

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor

from tinv.formats import LearnedEmbedding
from tinv.training.callbacks.metric_monitor import MetricMonitor, Mode
from tinv.training.callbacks.missed_validation import measure


class KeepBest(MetricMonitor):
    """Sets the rows aside whenever a number is better than ever before; these are then what is exported at the end.

    Each concept of a run has its own best, by its own number where there is one.
    """

    def __init__(self, monitor: str | None = "val/loss", mode: Mode = "auto"):
        """Args:
        monitor: name of the number.
        mode: `min` if less is better, `max` if more is, `auto` by the name: less of a loss, more of all else.
        """
        super().__init__(monitor, mode, setting="keep")
        self.best: dict[str, dict[str, Any]] = {}
        """By the concepts' names: the step, the number's value, and the rows [K, D] of each text encoder."""
        self._heard = -1

    @property
    def value(self) -> float | None:
        """The number, of what is kept; over several concepts its mean."""
        return sum(kept["value"] for kept in self.best.values()) / len(self.best) if self.best else None

    @property
    def told(self) -> dict[str, Any]:
        """For the run card: which step is kept of each concept, and its number."""
        kept = [
            {**({"concept": name} if name else {}), "step": kept["step"], self.monitor: kept["value"]}
            for name, kept in self.best.items()
        ]
        return {"kept": kept[0] if "" in self.best else kept} if kept else {}

    def choose(self, name: str, learned: LearnedEmbedding) -> LearnedEmbedding:
        """What is handed on of a concept, given what it has learned until now."""
        if name not in self.best:
            return learned
        kept = self.best[name]
        return replace(learned, vectors=kept["vectors"], provenance={**learned.provenance, "steps": str(kept["step"])})

    def hear(self, trainer: Trainer, pl_module: Any, values: Mapping[str, float]) -> None:
        """A measurement of the number."""
        self._heard = trainer.global_step
        shown: Mapping[str, Mapping[str, Tensor]] = {}
        for word in pl_module.learned_tokens:
            value = values.get(word.name)
            if value is not None and isfinite(value) and self._is_better(word.name, value):
                shown = shown or pl_module.export_vectors()
                rows = dict(shown[word.placeholder_token])
                self.best[word.name] = {"step": trainer.global_step, "value": value, "vectors": rows}

    def lacks(self, step: int) -> bool:
        """Whether a step's measurement has not been heard of."""
        return self._heard != step

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Say what is kept. A run that had been complete has its last measurement behind its last checkpoint."""
        if self.follows_the_loop and self.lacks(trainer.global_step):
            measure(trainer)
        if not trainer.is_global_zero:
            return
        if not self.best:
            print(f"keep.monitor={self.monitor}: nothing measured that, so the last embedding is kept", flush=True)
        for name, kept in self.best.items():
            of = f"{name}: " if name else ""
            print(f"{of}kept the embedding of step {kept['step']}: {self.monitor} {kept['value']:.4g}", flush=True)

    def state_dict(self) -> dict[str, Any]:
        """What is kept, as plain values and tensors."""
        return {"best": self.best, "heard": self._heard}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As a checkpoint has it."""
        self.best, self._heard = dict(state_dict["best"]), state_dict["heard"]

    def _is_better(self, name: str, value: float) -> bool:
        return name not in self.best or self.sign * (value - self.best[name]["value"]) > 0
