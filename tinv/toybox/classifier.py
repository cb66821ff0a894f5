"""A small classifier of the kind and color of a toy, trained on renders.

It is not part of the package; `train_classifier` trains it in a few minutes. The model card lists its accuracy on
held-out renders beside that on samples.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tinv.toybox.clip_features import to_pixels
from tinv.toybox.palette import NAMED_COLORS
from tinv.toybox.pretrain import checkpoint
from tinv.toybox.pretrain.muon import build_optimizers
from tinv.toybox.pretrain.schedule import generator, learning_rate, set_learning_rate
from tinv.toybox.toys import KINDS
from tinv.toybox.world import describe, render_image

COLORS = tuple(NAMED_COLORS)
UNNAMED_LABEL = -100
"""The label that `cross_entropy` ignores: the toy's color has no name."""
NUM_IMAGES = 20_000
"""Size of its training set."""
SEED = 700_000_000
"""First seed of its training set, which is disjoint from the model's training set and from the test images."""


@dataclass(frozen=True)
class Labels:
    """The kinds and colors of toys in images."""

    kinds: Tensor
    """Indices into `KINDS`, [N]."""
    colors: Tensor
    """Indices into `COLOURS`, [N], `UNNAMED` where the color has no name."""


class ToyClassifier(nn.Module):
    """Five convolutions and two heads."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, 128, 128)
        layers: list[nn.Module] = []
        for (narrow, wide), stride in zip(pairwise(widths), (2, 2, 2, 2, 1), strict=True):
            layers += [nn.Conv2d(narrow, wide, 3, stride, padding=1), nn.BatchNorm2d(wide), nn.SiLU()]
        self.trunk = nn.Sequential(*layers)
        self.kind = nn.Linear(128 * 16, len(KINDS))
        self.color = nn.Linear(128 * 16, len(COLORS))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of kinds, [B, 8], and of colors, [B, 10], for images [B, 3, 64, 64] in [-1, 1]."""
        features = self.trunk(images).flatten(1)
        return self.kind(features), self.color(features)

    @torch.no_grad()
    def classify(self, images: np.ndarray) -> Labels:
        """Returns the predicted labels of images [B, 64, 64, 3] uint8."""
        kinds, colors = zip(*(self(part) for part in to_pixels(images).split(100)), strict=True)
        return Labels(torch.cat(kinds).argmax(1), torch.cat(colors).argmax(1))


def true_labels(seeds: range) -> Labels:
    """Returns the true labels of the rendered images with these seeds."""
    toys = [describe(seed).toy for seed in seeds]
    colors = [COLORS.index(toy.color.name) if toy.color.name else UNNAMED_LABEL for toy in toys]
    return Labels(torch.tensor([KINDS.index(toy.kind) for toy in toys]), torch.tensor(colors))


def train_classifier(
    images: np.ndarray, labels: Labels, *, steps: int = 1200, batch: int = 64, seed: int = 0
) -> ToyClassifier:
    """Trains a classifier on images [N, 64, 64, 3] uint8 with added noise."""
    torch.manual_seed(seed)
    classifier = ToyClassifier().train()
    optimizers = build_optimizers(classifier, muon_rate=0.01, rate=1e-3)
    for step in range(steps):
        for optimizer in optimizers:
            set_learning_rate(optimizer, learning_rate(step, steps, 1.0, decay=0.4))
        rng = generator(seed, step)
        chosen = torch.randint(0, len(images), (batch,), generator=rng)
        inputs = to_pixels(images[chosen.numpy()])
        inputs = inputs + 0.1 * torch.rand(batch, 1, 1, 1, generator=rng) * torch.randn(inputs.shape, generator=rng)
        kinds, colors = classifier(inputs)
        loss = functional.cross_entropy(kinds, labels.kinds[chosen])
        loss = loss + functional.cross_entropy(colors, labels.colors[chosen])
        classifier.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    return classifier.eval()


def load_or_train_classifier(file: Path | None) -> ToyClassifier:
    """Loads the classifier from `file`, or trains one and saves it there."""
    if file is not None and file.exists():
        classifier = ToyClassifier()
        classifier.load_state_dict(torch.load(file, weights_only=True))
        return classifier.eval()
    seeds = range(SEED, SEED + NUM_IMAGES)
    classifier = train_classifier(np.stack([render_image(seed)[0] for seed in seeds]), true_labels(seeds))
    if file is not None:
        checkpoint.save(file, classifier.state_dict())
    return classifier


def accuracy(predicted: Labels, truth: Labels) -> tuple[float, float]:
    """Returns the accuracy of kinds, and of colors among those that have a name."""
    has_name = truth.colors != UNNAMED_LABEL
    kinds = (predicted.kinds == truth.kinds).float().mean()
    colors = (predicted.colors == truth.colors)[has_name].float().mean()
    return float(kinds), float(colors)
