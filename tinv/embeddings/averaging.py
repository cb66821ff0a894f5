"""A running average of the rows: steadier than the rows, which the last few samples have pushed about."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from tinv.embeddings.parameters import TokenParameters


class EMA(nn.Module):
    """The exponential moving average of rows, over optimizer steps.

    After n steps it takes 1 - min(decay, (1 + n) / (10 + n)) of the rows and keeps the rest of itself, so that the
    start, which says nothing about the concept, is soon forgotten: the warm-up of TensorFlow's and diffusers' averages.
    The average follows the rows some 1 / (1 - decay) steps behind.
    """

    def __init__(self, rows: TokenParameters, decay: float):
        """Args:
        rows: at their start.
        decay: in (0, 1); 0.99 to 0.999 are usual.
        """
        super().__init__()
        self.embedding = deepcopy(rows).requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, rows: TokenParameters) -> None:
        """Take in the rows as they are after a step; a number that is none stays out."""
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        for average_KD, rows_KD in zip(self.embedding.parameters(), rows.parameters(), strict=True):
            average_KD.lerp_(torch.where(rows_KD.isfinite(), rows_KD, average_KD), share)

    def get_extra_state(self) -> Tensor:
        """How many steps are in it, for checkpoints."""
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Any) -> None:
        """As a checkpoint has it."""
        self.steps = int(state)


class TailAverage(nn.Module):
    """The rows themselves until the last steps begin, and from there on the mean over the steps made since.

    Every one of these steps counts alike (Polyak & Juditsky 1992, over a tail): unlike a moving average it has no start
    to forget, and does not follow behind.
    """

    def __init__(self, rows: TokenParameters, share: float):
        """Args:
        rows: at their start.
        share: of the run's steps, in (0, 1); 0.1 to 0.5 are usual.
        """
        super().__init__()
        self.embedding = deepcopy(rows).requires_grad_(False)
        self.share = share
        self.steps, self.taken = 0, 0
        self._skipped = 0

    def set_max_steps(self, max_steps: int) -> None:
        """How long the run will be: the last steps are a share of these, one at least."""
        self._skipped = max_steps - max(1, round(self.share * max_steps))

    @torch.no_grad()
    def update(self, rows: TokenParameters) -> None:
        """Take in the rows as they are after a step; a number that is none stays out."""
        self.steps += 1
        self.taken = self.taken + 1 if self.steps > self._skipped else 0
        for mean_KD, rows_KD in zip(self.embedding.parameters(), rows.parameters(), strict=True):
            mean_KD.lerp_(torch.where(rows_KD.isfinite(), rows_KD, mean_KD), 1 / max(1, self.taken))

    def get_extra_state(self) -> Tensor:
        """How many steps there were, and how many are in the mean, for checkpoints."""
        return torch.tensor([self.steps, self.taken])

    def set_extra_state(self, state: Any) -> None:
        """As a checkpoint has it."""
        self.steps, self.taken = state.tolist()
