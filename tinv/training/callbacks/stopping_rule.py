"""The base class of callbacks that stop a run before its last step."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from tinv.errors import require_minimum


class StoppingRule(Callback, ABC):
    """Stops a run when a curve of every concept has converged; subclasses define convergence.

    A stopped run ends like a complete one, with validation, export and a checkpoint. The curves are part of the
    checkpoints and alone decide: a resumed run stops at the same step as an uninterrupted one. A run that was stopped
    stops again at once when it is resumed with the rule, and continues when it is resumed without the rule.
    """

    def __init__(self, min_steps: int = 0):
        """min_steps: number of optimizer steps that the run takes in any case."""
        require_minimum("early_stopping.min_steps", min_steps, 0)
        self.min_steps = min_steps
        self.curves: dict[str, list[tuple[int, float]]] = {}
        """Steps and values, by the concepts' names."""
        self.converged: dict[str, tuple[int, str]] = {}
        """The step at which each concept's curve converged, and the reason."""
        self.run_card_entry: dict[str, Any] = {}
        """The step at which the run was stopped and the reason, for the run card."""
        self._should_stop = False

    @abstractmethod
    def convergence_reason(self, curve: Sequence[tuple[int, float]]) -> str | None:
        """Returns why a curve has converged at its last value, or None if it has not."""

    def add_values(self, trainer: Trainer, values: Mapping[str, float], names: Sequence[str]) -> None:
        """Adds values of the current step by concept to the curves; `names` are all concepts of the run."""
        for name, value in values.items():
            self.curves.setdefault(name, []).append((trainer.global_step, value))
            self._check_curve(name, self.curves[name])
        self._should_stop = all(name in self.converged for name in names)

    def stop_if_converged(self, trainer: Trainer) -> None:
        """Stops all processes if the first process found that all curves have converged. Every process must call it."""
        if trainer.strategy.broadcast(self._should_stop) and trainer.global_step < trainer.max_steps:
            trainer.should_stop = True
            reasons = [f"{name}: {why} (step {at})" if name else why for name, (at, why) in self.converged.items()]
            self.run_card_entry = {"early_stopping": {"step": trainer.global_step, "reason": "; ".join(reasons)}}

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Checks the curves that were loaded from a checkpoint."""
        self.converged, self.run_card_entry, self._should_stop = {}, {}, False
        for name, curve in self.curves.items():
            for length in range(1, len(curve) + 1):
                self._check_curve(name, curve[:length])
        if self.curves:
            self._should_stop = all(token.name in self.converged for token in pl_module.learned_tokens)
        self.stop_if_converged(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Prints why the run was stopped."""
        if self.run_card_entry and trainer.is_global_zero:
            entry = self.run_card_entry["early_stopping"]
            print(f"stopped at step {entry['step']} of {trainer.max_steps}: {entry['reason']}", flush=True)

    def state_dict(self) -> dict[str, Any]:
        """Returns the curves as tensors [N, 2]."""
        return {name: torch.tensor(curve, dtype=torch.float64) for name, curve in self.curves.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.curves = {name: [(int(step), v) for step, v in curve.tolist()] for name, curve in state_dict.items()}

    def _check_curve(self, name: str, curve: Sequence[tuple[int, float]]) -> None:
        step = curve[-1][0]
        if name not in self.converged and step >= self.min_steps and (reason := self.convergence_reason(curve)):
            self.converged[name] = (step, reason)
