"""Stops when the loss of a few fixed draws has come to rest: DVAR."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from tinv.data.dataset import ValidationDataset, collate
from tinv.errors import UserError
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.callbacks.logging import log_metrics
from tinv.training.callbacks.stopping import Stopping
from tinv.training.callbacks.timing import Stopwatch
from tinv.types import Batch

_STRIDE = 10


class DVARStopping(Stopping):
    """Deterministic variance evaluation (Voronov et al. 2023, arXiv 2302.04841), with a stride.

    The training loss is noise for the most part: pictures, captions, noise and above all noise levels differ from step
    to step. With all of these fixed it is a curve, which is at rest when its last values vary little beside all that it
    has been: var(last `window`) < threshold x var(all).

    The paper looks after every step; the window counts looks here, so that 31 of them, 10 steps apart, are its 310. Its
    levels are four of 1000 at random; ours are spread evenly, as those of `val/loss` are.
    """

    def __init__(
        self,
        stride: int | None = None,
        draws: int = 4,
        window: int = 31,
        threshold: float = 0.15,
        min_steps: int = 0,
    ):
        """Args:
        stride: optimizer steps between two looks; None is 10, or more for batches that are smaller than the draws, so
            that looking takes less than 5 % of the training's time.
        draws: how many there are of each concept: picture, caption, noise, level.
        window: how many looks must agree.
        threshold: which share of the variance of all looks the window's may have.
        min_steps: not to stop before.
        """
        super().__init__(min_steps)
        for name, value, least in (("draws", draws, 1), ("window", window, 2)):
            if value < least:
                raise UserError(f"stop.{name} must be {least} or more, got {value}")
        if stride is not None and stride < 1:
            raise UserError(f"early_stopping.stride must be 1 or more, got {stride}; null chooses one")
        if not 0 < threshold < 1:
            raise UserError(
                f"early_stopping.threshold must be above 0 and less than 1, got {threshold}; 0.15 is the paper's"
            )
        self.stride, self.draws, self.window, self.threshold = stride, draws, window, threshold
        self.stopwatch = Stopwatch()
        self._every = EveryNSteps(stride, setting="early_stopping.stride")
        self._batches: list[list[Batch]] = []

    def why_flat(self, curve: Sequence[tuple[int, float]]) -> str | None:
        """See the class."""
        ratio = share_of_variance([value for _, value in curve], self.window)
        if ratio is None or ratio >= self.threshold:
            return None
        return (
            f"the loss of {self.draws} fixed draws has come to rest: over the last {self.window} looks its variance is "
            f"{ratio:.3f} of that over all"
        )

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Settle what is looked at, and when."""
        parts = trainer.datamodule.datamodules  # type: ignore[attr-defined]
        smallest = min(part.batch_size for part in parts) * trainer.accumulate_grad_batches
        self._every = EveryNSteps(self.stride or stride(self.draws, smallest), setting="early_stopping.stride")
        self._every.begin(trainer.global_step)
        samples = [ValidationDataset(part.encoded_images, num_draws=self.draws) for part in parts]
        self._batches = [
            [collate([of[i] for i in chosen]).to(pl_module.device) for chosen in of.batches(self.draws)]
            for of in samples
        ]
        super().on_train_start(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Look."""
        if not self._every.due(trainer.global_step):
            return
        with self.stopwatch("stopping"):
            names = [word.name for word in pl_module.learned_tokens]
            values = dict(zip(names, self._losses(trainer, pl_module).tolist(), strict=True))
            self.note(trainer, values, names)
            log_metrics(
                trainer, {f"early_stopping/loss{word.suffix}": values[word.name] for word in pl_module.learned_tokens}
            )
            self.agree(trainer)

    @torch.no_grad()
    def _losses(self, trainer: Trainer, pl_module: Any) -> Tensor:
        """The mean loss of each concept's draws, with the rows as everybody else gets them."""
        vectors = pl_module.eval_vectors()
        with trainer.precision_plugin.forward_context():
            losses = [torch.cat([pl_module.losses(batch, vectors) for batch in of]) for of in self._batches]
        return torch.stack([of_one.double().mean() for of_one in losses])


def stride(draws: int, batch: int) -> int:
    """How many optimizer steps must lie between two looks.

    A look is a pass forward, which takes 0.48 of a training step for as many samples (Stable Diffusion 1, counted): 10
    steps apart, 4 draws take 4.8 % of the time of training with a batch of 4.

    Args:
        draws: of a look.
        batch: samples in an optimizer step of one process.
    """
    return max(_STRIDE, ceil(_STRIDE * draws / batch))


def share_of_variance(values: Sequence[float], window: int) -> float | None:
    """var(last values) / var(all), or None as long as these are the same, or do not vary."""
    if len(values) <= window:
        return None
    curve = torch.tensor(values, dtype=torch.float64)
    whole = curve.var(correction=0).item()
    return curve[-window:].var(correction=0).item() / whole if whole > 0 else None
