"""Averages of the vectors over optimizer steps, which are steadier than the vectors of the last step."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from tinv.embeddings.parameters import TokenParameters


class EMA(nn.Module):
    """The exponential moving average of vectors.

    After n steps average <- d average + (1 - d) vectors with d = min(decay, (1 + n) / (10 + n)), the warm-up of
    TensorFlow's and diffusers' averages: it forgets the initial values fast. The average lags some 1 / (1 - decay)
    steps behind the vectors.
    """

    def __init__(self, parameters: TokenParameters, decay: float):
        """Starts from a copy of the initial vectors.

        Args:
            parameters: at their initial values.
            decay: in (0, 1); 0.99 to 0.999 are usual.
        """
        super().__init__()
        self.embedding = deepcopy(parameters).requires_grad_(False)
        self.decay = decay
        self.steps = 0

    def update(self, parameters: TokenParameters) -> None:
        """Adds the vectors after a step; ignores numbers that are not finite."""
        self.steps += 1
        _lerp(self.embedding, parameters, 1 - min(self.decay, (1 + self.steps) / (10 + self.steps)))

    def get_extra_state(self) -> Tensor:
        """Returns the number of steps, for checkpoints."""
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Any) -> None:
        """Restores the number of steps."""
        self.steps = int(state)


class TailAverage(nn.Module):
    """The mean of the vectors over the last steps of a run (Polyak & Juditsky 1992); until they begin, the vectors.

    All averaged steps weigh the same, so it does not lag and has no initial values to forget.
    """

    def __init__(self, parameters: TokenParameters, share: float):
        """Starts from a copy of the initial vectors.

        Args:
            parameters: at their initial values.
            share: of the run's steps, in (0, 1); 0.1 to 0.5 are usual.
        """
        super().__init__()
        self.embedding = deepcopy(parameters).requires_grad_(False)
        self.share = share
        self.steps, self.num_averaged = 0, 0
        self._first = 0

    def set_max_steps(self, max_steps: int) -> None:
        """Chooses the averaged steps: the last `share` of the run, at least one."""
        self._first = max_steps - max(1, round(self.share * max_steps))

    def update(self, parameters: TokenParameters) -> None:
        """Adds the vectors after a step; ignores numbers that are not finite."""
        self.steps += 1
        self.num_averaged = self.num_averaged + 1 if self.steps > self._first else 0
        _lerp(self.embedding, parameters, 1 / max(1, self.num_averaged))

    def get_extra_state(self) -> Tensor:
        """Returns the number of steps and of averaged steps, for checkpoints."""
        return torch.tensor([self.steps, self.num_averaged])

    def set_extra_state(self, state: Any) -> None:
        """Restores these numbers."""
        self.steps, self.num_averaged = state.tolist()


@torch.no_grad()
def _lerp(average: TokenParameters, parameters: TokenParameters, weight: float) -> None:
    for average_KD, vectors_KD in zip(average.parameters(), parameters.parameters(), strict=True):
        average_KD.lerp_(torch.where(vectors_KD.isfinite(), vectors_KD, average_KD), weight)
