"""A run that has learned what it can need not go on to its last step."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from tinv.errors import UserError


class Stopping(Callback, ABC):
    """Ends a run when a curve of every concept has flattened out; what makes a curve flat is for subclasses to say.

    The run then ends as it would have at its last step: validated, exported, with a checkpoint. The curves are in the
    checkpoints, and nothing but the curves decides: a run that goes on stops where it would have, at once if it had
    stopped, and not at all if it goes on without the rule.
    """

    def __init__(self, min_steps: int = 0):
        """Args:
        min_steps: not to stop before.
        """
        if min_steps < 0:
            raise UserError(f"early_stopping.min_steps must be 0 or more, got {min_steps}")
        self.min_steps = min_steps
        self.curves: dict[str, list[tuple[int, float]]] = {}
        """Steps and values, by the concepts' names."""
        self.flat: dict[str, tuple[int, str]] = {}
        """The concepts whose curves are flat: since which step, and why."""
        self.told: dict[str, Any] = {}
        """For the run card: at which step the run was stopped, and why."""
        self._is_over = False

    @abstractmethod
    def why_flat(self, curve: Sequence[tuple[int, float]]) -> str | None:
        """Why a curve has flattened out at its last value, in words; None if it has not."""

    def note(self, trainer: Trainer, values: Mapping[str, float], names: Sequence[str]) -> None:
        """Add new values to the curves.

        Args:
            trainer: of the run.
            values: by the concepts' names.
            names: of all concepts of the run.
        """
        for name, value in values.items():
            self.curves.setdefault(name, []).append((trainer.global_step, value))
            self._look(name, self.curves[name])
        self._is_over = all(name in self.flat for name in names)

    def agree(self, trainer: Trainer) -> None:
        """Stop if the process that decides says so: all processes together, or the others would wait for it."""
        if trainer.strategy.broadcast(self._is_over) and trainer.global_step < trainer.max_steps:
            trainer.should_stop = True
            self.told = {"stopped": {"step": trainer.global_step, "reason": self._reason()}}

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """What the curves of a run that goes on have come to already."""
        self.flat, self.told, self._is_over = {}, {}, False
        for name, curve in self.curves.items():
            for length in range(1, len(curve) + 1):
                self._look(name, curve[:length])
        if self.curves:
            self._is_over = all(word.name in self.flat for word in pl_module.learned_tokens)
        self.agree(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Why the run is over, to whoever waits for it."""
        if self.told and trainer.is_global_zero:
            stopped = self.told["stopped"]
            print(f"stopped at step {stopped['step']} of {trainer.max_steps}: {stopped['reason']}", flush=True)

    def state_dict(self) -> dict[str, Any]:
        """The curves, as tensors [N, 2]."""
        return {name: torch.tensor(curve, dtype=torch.float64) for name, curve in self.curves.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As a checkpoint has them."""
        self.curves = {
            name: [(int(step), value) for step, value in curve.tolist()] for name, curve in state_dict.items()
        }

    def _look(self, name: str, curve: Sequence[tuple[int, float]]) -> None:
        step = curve[-1][0]
        if name not in self.flat and step >= self.min_steps and (why := self.why_flat(curve)):
            self.flat[name] = (step, why)

    def _reason(self) -> str:
        return "; ".join(f"{name}: {why} (step {step})" if name else why for name, (step, why) in self.flat.items())
