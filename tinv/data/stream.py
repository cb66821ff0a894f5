"""What is shown when: sample n of a run is a function of (seed, n), and of nothing else.

Samples are dealt in passes: each pass shows every picture `repeats` times, in an order of its own. There are no
epochs to restart and no sampler state to save; a resumed run simply begins at a later n.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from tinv.draw import generator, seed_of


@dataclass(frozen=True)
class Sample:
    """What one sample of the run consists of."""

    moments: Tensor
    """[2C, h, w]"""
    caption: str
    geometry: Tensor
    """[6]"""
    level: float
    """In [0, 1): where in the noise schedule."""
    draw: int
    """The sample's own seed."""
    index: int
    """Which picture."""


@lru_cache(maxsize=4)
def deal(seed: int, turn: int, cards: int) -> tuple[int, ...]:
    """The order of `cards` pictures in one pass."""
    return tuple(torch.randperm(cards, generator=generator(seed, "order", turn)).tolist())


class TrainingSamples(Dataset[Sample]):
    """Sample n for n = 0, 1, 2 ... of the run."""

    def __init__(
        self,
        *,
        moments: Tensor,
        geometry: Tensor,
        captions: Sequence[str],
        repeats: int,
        seed: int,
    ):
        """Args:
        moments: [N, O, 2C, h, w] of N pictures in O orientations (1, or 2 with the mirrored one).
        geometry: [N, 6].
        captions: to choose from, with the word filled in.
        repeats: how often a pass shows each picture.
        seed: of the run.
        """
        self.moments, self.geometry, self.captions = moments, geometry, captions
        self.repeats, self.seed = repeats, seed

    def __getitem__(self, n: int) -> Sample:
        cards = len(self.moments) * self.repeats
        index = deal(self.seed, n // cards, cards)[n % cards] % len(self.moments)
        chance = generator(self.seed, "sample", n)
        caption = int(torch.randint(len(self.captions), (), generator=chance))
        orientation = int(torch.randint(self.moments.shape[1], (), generator=chance))
        return Sample(
            moments=self.moments[index, orientation],
            caption=self.captions[caption],
            geometry=self.geometry[index],
            level=float(torch.rand((), dtype=torch.float64, generator=chance)),
            draw=seed_of(self.seed, "noise", n),
            index=index,
        )


class ValidationSamples(Dataset[Sample]):
    """A fixed set of draws, spread evenly over the noise schedule: the same embedding gives the same loss, always.

    The level of draw i is stratified (Voronov et al. 2023, arXiv 2302.04841, fix the draws to make the loss tell
    something; spreading the levels makes few of them enough); pictures, orientations and captions take turns.
    """

    def __init__(self, *, moments: Tensor, geometry: Tensor, captions: Sequence[str], num_draws: int):
        self.moments, self.geometry, self.captions, self.num_draws = moments, geometry, captions, num_draws

    def __len__(self) -> int:
        return self.num_draws

    def __getitem__(self, i: int) -> Sample:
        index = i % len(self.moments)
        order = deal(0, -1, self.num_draws)
        return Sample(
            moments=self.moments[index, (i // len(self.moments)) % self.moments.shape[1]],
            caption=self.captions[i % len(self.captions)],
            geometry=self.geometry[index],
            level=(order[i] + 0.5) / self.num_draws,
            draw=seed_of("validation", i),
            index=index,
        )


class RunSampler(Sampler[list[int]]):
    """Batches of sample numbers from a starting micro-batch to the end of the run, for one of several processes."""

    def __init__(self, *, start: int, stop: int, batch_size: int, rank: int = 0, world_size: int = 1):
        """Args:
        start: the first micro-batch, 0 for a new run.
        stop: one past the last.
        batch_size: samples in a micro-batch of one process.
        rank: which process this is.
        world_size: how many there are; they take turns at the micro-batches' samples.
        """
        self.start, self.stop, self.batch_size = start, stop, batch_size
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        """Micro-batches of the whole run, those that a resumed run has behind it included: Lightning counts them."""
        return self.stop

    def __iter__(self) -> Iterator[list[int]]:
        for micro in range(self.start, self.stop):
            first = (micro * self.world_size + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))
