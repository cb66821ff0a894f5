"""Keeps the embedding of the step with the best metric."""

from collections.abc import Mapping
from dataclasses import replace
from math import inf, isfinite
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor

from tinv.formats import LearnedEmbedding
from tinv.training.callbacks.metric_monitor import MetricMonitor, Mode, run_validation


class KeepBest(MetricMonitor):
    """Copies the vectors whenever the metric is the best so far; the copy is what the run exports at its end.

    Each concept has its own best step, by its own metric where there is one.
    """

    def __init__(self, monitor: str | None = "val/loss", mode: Mode = "auto"):
        """The arguments are those of `MetricMonitor`."""
        super().__init__(monitor, mode, setting="keep")
        self.best: dict[str, dict[str, Any]] = {}
        """By the concepts' names: the step, the metric's value, and the vectors [K, D] of each text encoder."""
        self._last_step = -1

    @property
    def value(self) -> float | None:
        """The metric at the best step, averaged over the concepts."""
        return sum(best["value"] for best in self.best.values()) / len(self.best) if self.best else None

    @property
    def run_card_entry(self) -> dict[str, Any]:
        """The best step of each concept and its metric, for the run card."""
        entries = [
            ({"concept": name} if name else {}) | {"step": best["step"], self.monitor: best["value"]}
            for name, best in self.best.items()
        ]
        return {"best": entries[0] if "" in self.best else entries} if entries else {}

    def select(self, name: str, learned: LearnedEmbedding) -> LearnedEmbedding:
        """Returns the best embedding of a concept, or `learned`, its latest, if none was measured."""
        if name not in self.best:
            return learned
        best = self.best[name]
        return replace(learned, vectors=best["vectors"], provenance={**learned.provenance, "steps": str(best["step"])})

    def on_metric(self, trainer: Trainer, pl_module: Any, values: Mapping[str, float]) -> None:
        """Copies the vectors of the concepts whose metric has improved."""
        self._last_step = trainer.global_step
        vectors: Mapping[str, Mapping[str, Tensor]] = {}
        for token in pl_module.learned_tokens:
            value = values.get(token.name)
            best = self.best.get(token.name, {"value": -self.sign * inf})["value"]
            if value is not None and isfinite(value) and self.sign * (value - best) > 0:
                vectors = vectors or pl_module.export_vectors()
                copy = dict(vectors[token.placeholder_token])
                self.best[token.name] = {"step": trainer.global_step, "value": value, "vectors": copy}

    def has_missed(self, step: int) -> bool:
        """Returns whether the last measurement was at another step."""
        return self._last_step != step

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Prints the best step. A run that was complete when it resumed repeats its last validation first."""
        if self.is_logged_by_lightning and self.has_missed(trainer.global_step):
            run_validation(trainer)
        if not trainer.is_global_zero:
            return
        if not self.best:
            print(f"keep.monitor={self.monitor}: never measured; the last embedding is the result", flush=True)
        for name, best in self.best.items():
            prefix = f"{name}: " if name else ""
            print(f"{prefix}kept the embedding of step {best['step']}: {self.monitor} {best['value']:.4g}", flush=True)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "last_step": self._last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self._last_step = dict(state_dict["best"]), state_dict["last_step"]
