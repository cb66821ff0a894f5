"""What is shown when: sample n of a run is a function of (seed, n), and of nothing else.

There are no epochs to restart and no sampler state to save; a resumed run simply begins at a later n.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from tinv.data.captions import Captions
from tinv.data.encode_latents import EncodedViews
from tinv.seeding import generator, seed_of
from tinv.types import Batch


@dataclass(frozen=True)
class EncodedImage:
    """A picture, what may be said of it, and how often it comes."""

    views: EncodedViews
    captions: Captions
    repeats: int = 1

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width of its latents; only pictures of one size go side by side."""
        return tuple(self.views.moments.shape[-2:])


@dataclass(frozen=True)
class TrainingExample:
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
    mask: Tensor | None = None
    """[1, h, w]"""


class TrainingDataset(Dataset[TrainingExample]):
    """Sample n for n = 0, 1, 2 ... of the run."""

    def __init__(self, shown: Sequence[EncodedImage], *, batch_size: int, seed: int, strata: int | None = None):
        """Args:
        shown: the pictures; a pass shows each as often as it repeats.
        batch_size: samples in a micro-batch of one process.
        seed: of the run.
        strata: samples in an optimizer step, which share the levels out among them; None is each by itself.
        """
        rounds = range(max(picture.repeats for picture in shown))
        cards = [i for turn in rounds for i, picture in enumerate(shown) if picture.repeats > turn]
        self.shown, self.seed, self.strata = shown, seed, strata
        self.deck = ShuffledOrder(cards, [shown[i].size for i in cards], batch_size=batch_size, seed=seed)

    def __getitem__(self, n: int) -> TrainingExample:
        index = self.deck[n]
        views, captions = self.shown[index].views, self.shown[index].captions
        chance = generator(self.seed, "sample", n)
        said = int(torch.randint(len(captions), (), generator=chance))
        view = int(torch.randint(len(views), (), generator=chance))
        return TrainingExample(
            moments=views.moments[view],
            caption=captions.varied(said, generator(self.seed, "tags", n)) if captions.varies else captions[said],
            geometry=views.geometry[view],
            level=self._level(n, float(torch.rand((), dtype=torch.float64, generator=chance))),
            draw=seed_of(self.seed, "noise", n),
            index=index,
            mask=None if views.mask is None else views.mask[view],
        )

    def _level(self, n: int, share: float) -> float:
        """A share in [0, 1) of the noise schedule, or of the stratum that is dealt to the sample."""
        if not self.strata:
            return share
        step, place = divmod(n, self.strata)
        return (shuffled(self.seed, step, self.strata, "levels")[place] + share) / self.strata


class ValidationDataset(Dataset[TrainingExample]):
    """A fixed set of draws, spread evenly over the noise schedule: the same embedding gives the same loss, always.

    The level of draw i is stratified (Voronov et al. 2023, arXiv 2302.04841, fix the draws to make the loss tell
    something; spreading the levels makes few of them enough); pictures, views and captions take turns.
    """

    def __init__(self, shown: Sequence[EncodedImage], *, num_draws: int):
        """Args:
        shown: the pictures.
        num_draws: how many draws there are.
        """
        self.shown, self.num_draws = shown, num_draws

    def __len__(self) -> int:
        return self.num_draws

    def __getitem__(self, i: int) -> TrainingExample:
        index = i % len(self.shown)
        views, captions = self.shown[index].views, self.shown[index].captions
        view = i // len(self.shown) % len(views)
        order = shuffled(0, -1, self.num_draws)
        return TrainingExample(
            moments=views.moments[view],
            caption=captions[i % len(captions)],
            geometry=views.geometry[view],
            level=(order[i] + 0.5) / self.num_draws,
            draw=seed_of("validation", i),
            index=index,
            mask=None if views.mask is None else views.mask[view],
        )

    def batches(self, batch_size: int) -> list[list[int]]:
        """The draws in batches of pictures of one size."""
        sizes = [self.shown[i % len(self.shown)].size for i in range(self.num_draws)]
        return batches_by_size(sizes, batch_size)


class RunBatchSampler(Sampler[list[int]]):
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


def collate(samples: Sequence[TrainingExample]) -> Batch:
    """Samples side by side; a picture without a mask beside one that has one counts as a whole."""
    masks = [sample.mask for sample in samples]
    whole = torch.ones(1, *samples[0].moments.shape[-2:])
    has_mask = any(mask is not None for mask in masks)
    return Batch(
        moments=torch.stack([sample.moments for sample in samples]),
        captions=[sample.caption for sample in samples],
        geometry=torch.stack([sample.geometry for sample in samples]),
        level=torch.tensor([sample.level for sample in samples], dtype=torch.float64),
        draws=torch.tensor([sample.draw for sample in samples]),
        index=torch.tensor([sample.index for sample in samples]),
        mask=torch.stack([whole if mask is None else mask for mask in masks]) if has_mask else None,
    )


@lru_cache(maxsize=64)
def shuffled(seed: int, turn: int, cards: int, what: str = "order") -> tuple[int, ...]:
    """The order of `cards` cards in one pass."""
    return tuple(torch.randperm(cards, generator=generator(seed, what, turn)).tolist())


class ShuffledOrder:
    """Deals cards in passes, each in an order of its own, so that a micro-batch holds pictures of one size.

    Each size has its own deck, and a micro-batch takes the next `batch_size` cards of one of them. Which one is dealt,
    too: a size has as many turns as cards, so that after `batch_size` passes each card was shown `batch_size` times
    exactly, whatever the sizes. Where all pictures have one size, that is simply one deck, dealt pass by pass.
    """

    def __init__(self, cards: Sequence[int], sizes: Sequence[Hashable], *, batch_size: int, seed: int):
        """Args:
        cards: the pictures of one pass; one that counts more is there more often.
        sizes: of each card's picture.
        batch_size: samples in a micro-batch of one process; micro-batch m shows the samples from m * batch_size on.
        seed: of the run.
        """
        self.batch_size, self.seed = batch_size, seed
        names = list(dict.fromkeys(sizes))
        self.decks = [[card for card, size in zip(cards, sizes, strict=True) if size == name] for name in names]
        self._deck_of = tuple(names.index(size) for size in sizes)

    def __getitem__(self, n: int) -> int:
        """The card that sample n shows."""
        batch, place = divmod(n, self.batch_size)
        which, earlier = self._choose(batch)
        deck = self.decks[which]
        turn, place = divmod(earlier * self.batch_size + place, len(deck))
        return deck[shuffled(self.seed, turn, len(deck))[place]]

    def _choose(self, batch: int) -> tuple[int, int]:
        """The deck of a micro-batch, and how many micro-batches it has given before."""
        if len(self.decks) == 1:
            return 0, batch
        turn, place = divmod(batch, len(self._deck_of))
        which, earlier = _turns(self.seed, turn, self._deck_of)[place]
        return which, turn * len(self.decks[which]) + earlier


@lru_cache(maxsize=2)
def _turns(seed: int, turn: int, deck_of: tuple[int, ...]) -> list[tuple[int, int]]:
    """For each micro-batch of one round: its deck, and how many of this round had that deck before it."""
    seen = [0] * (max(deck_of) + 1)
    turns = []
    for card in shuffled(seed, turn, len(deck_of), "batches"):
        turns.append((deck_of[card], seen[deck_of[card]]))
        seen[deck_of[card]] += 1
    return turns


def batches_by_size(sizes: Sequence[Hashable], batch_size: int) -> list[list[int]]:
    """The numbers of items in batches that hold one size each, in the order of the items."""
    batches = []
    for name in dict.fromkeys(sizes):
        alike = [i for i, size in enumerate(sizes) if size == name]
        batches += [alike[start : start + batch_size] for start in range(0, len(alike), batch_size)]
    return batches
