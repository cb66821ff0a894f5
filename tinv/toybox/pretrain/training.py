"""A module in training: its optimizers, its averaged weights, and the number of its steps."""

from pathlib import Path
from typing import Generic, TypeVar

from torch import Tensor, nn

from tinv.toybox.pretrain import checkpoint, parallel
from tinv.toybox.pretrain.muon import build_optimizers
from tinv.toybox.pretrain.schedule import set_learning_rate
from tinv.toybox.pretrain.settings import StageSettings

M = TypeVar("M", bound=nn.Module)


class ModuleTraining(Generic[M]):
    """The state of a module's training; it can be saved after any step and restored to the last bit."""

    def __init__(self, module: M, settings: StageSettings) -> None:
        self.module = module
        self.optimizers = build_optimizers(module, muon_rate=settings.muon_rate, rate=settings.rate)
        self.average = checkpoint.Average(module)
        self.step = 0
        self.samples = 0
        """Training samples, including those of the weights that the training began with."""
        self.decay_start: int | None = None
        """The step after which the learning rate decays; None while it is constant."""

    def update(self, loss: Tensor, *, rate: float, samples: int) -> None:
        """Performs a step with the gradients of all processes.

        Args:
            loss: of this process's share of the batch.
            rate: learning rate as a share of the peak.
            samples: size of the batch.
        """
        self.module.zero_grad()
        loss.backward()
        parallel.average_gradients(self.module)
        for optimizer in self.optimizers:
            set_learning_rate(optimizer, rate)
            optimizer.step()
        self.average.update(self.step)
        self.step, self.samples = self.step + 1, self.samples + samples

    def save(self, file: Path) -> None:
        """Writes the state atomically."""
        state = {
            "module": self.module.state_dict(),
            "average": self.average.state(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "samples": self.samples,
            "decay_start": self.decay_start,
        }
        checkpoint.save(file, state)

    def restore(self, file: Path) -> bool:
        """Restores the state from a file; returns whether there is one."""
        state = checkpoint.load(file)
        if state is None:
            return False
        self.module.load_state_dict(state["module"])
        self.average.restore(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.samples, self.decay_start = state["step"], state["samples"], state["decay_start"]
        return True
