"""The order of a run's training examples: example n is a function of (seed, n) alone.

There are no epochs and no sampler state to save; a resumed run starts at a later n.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from tinv.data.captions import Captions
from tinv.data.encode_latents import EncodedViews
from tinv.seeding import generator, seed_of
from tinv.types import Batch


@dataclass(frozen=True)
class EncodedImage:
    """A training image: its encoded views, its captions, and how often each pass repeats it."""

    views: EncodedViews
    captions: Captions
    repeats: int = 1

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width of its latents; a micro-batch contains images of one size."""
        return tuple(self.views.moments.shape[-2:])


@dataclass(frozen=True)
class TrainingExample:
    """One training example: a view of an image, a caption, a noise level and a noise seed."""

    moments: Tensor
    """[2C, h, w], mean and log-variance of the latents, not scaled."""
    caption: str
    geometry: Tensor
    """[6]; see `tinv.data.crops.Crop.geometry`."""
    level: float
    """The noise level in [0, 1); 0 is the least noise."""
    noise_seed: int
    """Seed of the posterior sample and of the noise."""
    index: int
    """Of the image."""
    mask: Tensor | None = None
    """[1, h, w], the loss weight of each latent pixel; None if all weigh the same."""


class TrainingDataset(Dataset[TrainingExample]):
    """Training example n for n = 0, 1, 2 ..., without end."""

    def __init__(self, images: Sequence[EncodedImage], *, batch_size: int, seed: int, num_strata: int | None = None):
        """Prepares the order of the images.

        Args:
            images: each appears in every pass as often as it repeats.
            batch_size: examples in a micro-batch of one process.
            seed: of the run.
            num_strata: examples per optimizer step, whose noise levels are stratified; None draws each level alone.
        """
        passes = range(max(image.repeats for image in images))
        indices = [i for repeat in passes for i, image in enumerate(images) if image.repeats > repeat]
        self.images, self.seed, self.num_strata = images, seed, num_strata
        self.order = ShuffledOrder(indices, [images[i].size for i in indices], batch_size=batch_size, seed=seed)

    def __getitem__(self, n: int) -> TrainingExample:
        index = self.order[n]
        views, captions = self.images[index].views, self.images[index].captions
        rng = generator(self.seed, "sample", n)
        i = int(torch.randint(len(captions), (), generator=rng))
        view = int(torch.randint(len(views), (), generator=rng))
        return TrainingExample(
            moments=views.moments[view],
            caption=captions.augmented(i, generator(self.seed, "tags", n)) if captions.is_augmented else captions[i],
            geometry=views.geometry[view],
            level=self._level(n, float(torch.rand((), dtype=torch.float64, generator=rng))),
            noise_seed=seed_of(self.seed, "noise", n),
            index=index,
            mask=None if views.mask is None else views.mask[view],
        )

    def _level(self, n: int, uniform: float) -> float:
        """Returns the noise level, or with strata a level in the stratum of the example."""
        if not self.num_strata:
            return uniform
        step, position = divmod(n, self.num_strata)
        return (shuffled(self.seed, step, self.num_strata, "levels")[position] + uniform) / self.num_strata


class ValidationDataset(Dataset[TrainingExample]):
    """A fixed set of examples, evenly spread over the noise schedule: the same embedding always has the same loss.

    Fixed examples make the loss comparable between steps (Voronov et al. 2023, arXiv 2302.04841); stratified levels
    make a few of them enough. Images, views and captions take turns.
    """

    def __init__(self, images: Sequence[EncodedImage], *, num_draws: int):
        self.images, self.num_draws = images, num_draws

    def __len__(self) -> int:
        return self.num_draws

    def __getitem__(self, i: int) -> TrainingExample:
        index = i % len(self.images)
        views, captions = self.images[index].views, self.images[index].captions
        view = i // len(self.images) % len(views)
        return TrainingExample(
            moments=views.moments[view],
            caption=captions[i % len(captions)],
            geometry=views.geometry[view],
            level=(shuffled(0, -1, self.num_draws)[i] + 0.5) / self.num_draws,
            noise_seed=seed_of("validation", i),
            index=index,
            mask=None if views.mask is None else views.mask[view],
        )

    def batches(self, batch_size: int) -> list[list[int]]:
        """Returns the example numbers in batches of images with one size."""
        return batches_by_size([self.images[i % len(self.images)].size for i in range(self.num_draws)], batch_size)


class RunBatchSampler(Sampler[list[int]]):
    """The example numbers of each micro-batch from a given one on, for one of several processes.

    It has no end, because a run can be extended while it trains; the trainer counts.
    """

    def __init__(self, *, start: int, stop: int, batch_size: int, rank: int = 0, world_size: int = 1):
        """Chooses the micro-batches.

        Args:
            start: the first micro-batch; 0 for a new run.
            stop: one past the last of the run as planned.
            batch_size: examples in a micro-batch of one process.
            rank: of this process.
            world_size: number of processes; consecutive groups of `batch_size` examples go to one rank each.
        """
        self.start, self.stop, self.batch_size = start, stop, batch_size
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        """Returns the micro-batches of the whole run, including those before `start`: Lightning counts them."""
        return self.stop

    def __iter__(self) -> Iterator[list[int]]:
        for batch in count(self.start):
            first = (batch * self.world_size + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))


class ShuffledOrder:
    """An endless order of images, shuffled anew in each pass, in which every micro-batch has images of one size.

    Images are grouped by size, and a micro-batch takes the next `batch_size` images of one group. The order of the
    groups is shuffled too: a group comes up as often as it has images, so that after `batch_size` passes each image
    was used exactly `batch_size` times. If all images have one size, each pass is a plain permutation.
    """

    def __init__(self, indices: Sequence[int], sizes: Sequence[Hashable], *, batch_size: int, seed: int):
        """Groups the images by size.

        Args:
            indices: the images of one pass; a repeated image appears several times.
            sizes: of each of these images.
            batch_size: examples in a micro-batch of one process; micro-batch m starts at example m * batch_size.
            seed: of the run.
        """
        self.batch_size, self.seed = batch_size, seed
        unique = list(dict.fromkeys(sizes))
        self.groups = [[i for i, size in zip(indices, sizes, strict=True) if size == name] for name in unique]
        self._group_of = tuple(unique.index(size) for size in sizes)

    def __getitem__(self, n: int) -> int:
        """Returns the index of the image in example n."""
        batch, position = divmod(n, self.batch_size)
        number, earlier = self._choose_group(batch)
        group = self.groups[number]
        turn, position = divmod(earlier * self.batch_size + position, len(group))
        return group[shuffled(self.seed, turn, len(group))[position]]

    def _choose_group(self, batch: int) -> tuple[int, int]:
        """Returns the group of a micro-batch, and how many earlier micro-batches used that group."""
        if len(self.groups) == 1:
            return 0, batch
        turn, position = divmod(batch, len(self._group_of))
        number, earlier = _group_order(self.seed, turn, self._group_of)[position]
        return number, turn * len(self.groups[number]) + earlier


@lru_cache(maxsize=64)
def shuffled(seed: int, turn: int, count: int, purpose: str = "order") -> tuple[int, ...]:
    """Returns a permutation of range(count) for one pass."""
    return tuple(torch.randperm(count, generator=generator(seed, purpose, turn)).tolist())


@lru_cache(maxsize=2)
def _group_order(seed: int, turn: int, group_of: tuple[int, ...]) -> list[tuple[int, int]]:
    """Returns for each micro-batch of one pass its group, and how many earlier ones in the pass used that group."""
    used = [0] * (max(group_of) + 1)
    order = []
    for i in shuffled(seed, turn, len(group_of), "batches"):
        order.append((group_of[i], used[group_of[i]]))
        used[group_of[i]] += 1
    return order


def batches_by_size(sizes: Sequence[Hashable], batch_size: int) -> list[list[int]]:
    """Returns the positions of `sizes` in batches of one size each, otherwise in order."""
    batches = []
    for name in dict.fromkeys(sizes):
        positions = [i for i, size in enumerate(sizes) if size == name]
        batches += [positions[start : start + batch_size] for start in range(0, len(positions), batch_size)]
    return batches


def collate(examples: Sequence[TrainingExample]) -> Batch:
    """Stacks examples into a batch; if only some have a mask, the others get a mask of ones."""
    masks = [example.mask for example in examples]
    ones = torch.ones(1, *examples[0].moments.shape[-2:])
    has_mask = any(mask is not None for mask in masks)
    return Batch(
        moments=torch.stack([example.moments for example in examples]),
        captions=[example.caption for example in examples],
        geometry=torch.stack([example.geometry for example in examples]),
        level=torch.tensor([example.level for example in examples], dtype=torch.float64),
        noise_seeds=torch.tensor([example.noise_seed for example in examples]),
        index=torch.tensor([example.index for example in examples]),
        mask=torch.stack([ones if mask is None else mask for mask in masks]) if has_mask else None,
    )
