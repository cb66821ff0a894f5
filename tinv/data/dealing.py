"""Which picture comes when: an endless deal that depends on the seed and the number of the sample alone."""

from collections.abc import Hashable, Sequence
from functools import lru_cache

import torch

from tinv.seeding import generator


@lru_cache(maxsize=64)
def deal(seed: int, turn: int, cards: int, what: str = "order") -> tuple[int, ...]:
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
        return deck[deal(self.seed, turn, len(deck))[place]]

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
    for card in deal(seed, turn, len(deck_of), "batches"):
        turns.append((deck_of[card], seen[deck_of[card]]))
        seen[deck_of[card]] += 1
    return turns


def batches_of_one_size(sizes: Sequence[Hashable], batch_size: int) -> list[list[int]]:
    """The numbers of items in batches that hold one size each, in the order of the items."""
    batches = []
    for name in dict.fromkeys(sizes):
        alike = [i for i, size in enumerate(sizes) if size == name]
        batches += [alike[start : start + batch_size] for start in range(0, len(alike), batch_size)]
    return batches
