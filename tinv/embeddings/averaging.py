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
        self.rows = deepcopy(rows).requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, rows: TokenParameters) -> None:
        """Take in the rows as they are after a step; a number that is none stays out."""
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        for average_KD, rows_KD in zip(self.rows.parameters(), rows.parameters(), strict=True):
            average_KD.lerp_(torch.where(rows_KD.isfinite(), rows_KD, average_KD), share)

    def get_extra_state(self) -> Tensor:
        """How many steps are in it, for checkpoints."""
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Any) -> None:
        """As a checkpoint has it."""
        self.steps = int(state)
