"""Stops a run when its loss on fixed samples has converged (DVAR)."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from tinv.data.dataset import ValidationDataset, collate
from tinv.errors import UserError, require_minimum
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.callbacks.logging import log_metrics
from tinv.training.callbacks.stopping_rule import StoppingRule
from tinv.training.callbacks.timing import Stopwatch
from tinv.types import Batch

_MIN_STRIDE = 10


class DVARStopping(StoppingRule):
    """Deterministic variance evaluation (Voronov et al. 2023, arXiv 2302.04841), with a stride.

    The training loss is mostly noise, because images, captions, noise and above all timesteps differ between steps.
    With all of them fixed the loss is a curve. It has converged when var(last `window` values) < `threshold` *
    var(all values).

    The paper evaluates after every step. Here `window` counts evaluations: 31 of them, 10 steps apart, span the
    paper's 310 steps. The paper draws 4 of 1000 timesteps at random; here they are evenly spaced, as for `val/loss`.
    """

    def __init__(
        self, stride: int | None = None, draws: int = 4, window: int = 31, threshold: float = 0.15, min_steps: int = 0
    ):
        """Args:
        stride: optimizer steps between two evaluations; None is 10, or more for batches smaller than `draws`, so that
            the evaluations take less than 5 % of the training time.
        draws: number of fixed samples of each concept; a sample is an image, a caption, a noise and a timestep.
        window: number of evaluations over which the loss must be flat.
        threshold: largest variance of the window as a fraction of the variance of all evaluations.
        min_steps: number of optimizer steps that the run takes in any case.
        """
        super().__init__(min_steps)
        require_minimum("early_stopping.stride", stride, 1, "null chooses one.")
        require_minimum("early_stopping.draws", draws, 1)
        require_minimum("early_stopping.window", window, 2)
        if not 0 < threshold < 1:
            raise UserError(f"early_stopping.threshold={threshold}: must be between 0 and 1. The paper uses 0.15.")
        self.stride, self.draws, self.window, self.threshold = stride, draws, window, threshold
        self.stopwatch = Stopwatch()
        self._every = EveryNSteps(stride, setting="early_stopping.stride")
        self._batches: list[list[Batch]] = []

    def convergence_reason(self, curve: Sequence[tuple[int, float]]) -> str | None:
        """Returns the variance ratio in words if it is below the threshold, else None."""
        if (ratio := variance_ratio([value for _, value in curve], self.window)) is None or ratio >= self.threshold:
            return None
        return (
            f"the loss of {self.draws} fixed samples has converged: its variance over the last {self.window} "
            f"evaluations is {ratio:.3f} of its variance over all evaluations"
        )

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Draws the fixed samples and chooses the stride."""
        parts = trainer.datamodule.datamodules  # type: ignore[attr-defined]
        smallest = min(part.batch_size for part in parts) * trainer.accumulate_grad_batches
        self._every = EveryNSteps(self.stride or default_stride(self.draws, smallest), setting="early_stopping.stride")
        self._every.reset(trainer.global_step)
        self._batches = [
            [collate([dataset[i] for i in indices]).to(pl_module.device) for indices in dataset.batches(self.draws)]
            for dataset in (ValidationDataset(part.encoded_images, num_draws=self.draws) for part in parts)
        ]
        super().on_train_start(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Evaluates the loss every `stride` steps and stops the run if it has converged."""
        if not self._every.is_due(trainer.global_step):
            return
        with self.stopwatch("stopping"):
            tokens = pl_module.learned_tokens
            losses = dict(zip((token.name for token in tokens), self._losses(trainer, pl_module).tolist(), strict=True))
            self.add_values(trainer, losses, [*losses])
            log_metrics(trainer, {f"early_stopping/loss{token.suffix}": losses[token.name] for token in tokens})
            self.stop_if_converged(trainer)

    @torch.no_grad()
    def _losses(self, trainer: Trainer, pl_module: Any) -> Tensor:
        """Returns the mean loss of each concept's samples with the vectors that are exported."""
        vectors = pl_module.eval_vectors()
        with trainer.precision_plugin.forward_context():
            losses = [torch.cat([pl_module.losses(batch, vectors) for batch in batches]) for batches in self._batches]
        return torch.stack([losses_N.double().mean() for losses_N in losses])


def default_stride(draws: int, batch_size: int) -> int:
    """Returns the number of optimizer steps between two evaluations.

    An evaluation is a forward pass, which takes 0.48 of the time of a training step for the same number of samples
    (Stable Diffusion 1, in FLOPs). Every 10 steps, 4 samples take 4.8 % of the time of training with batch size 4,
    where the batch size is that of an optimizer step of one process.
    """
    return max(_MIN_STRIDE, ceil(_MIN_STRIDE * draws / batch_size))


def variance_ratio(values: Sequence[float], window: int) -> float | None:
    """Returns var(last `window` values) / var(all), or None if there are no more values than that or they are equal."""
    if len(values) <= window:
        return None
    curve = torch.tensor(values, dtype=torch.float64)
    total = curve.var(correction=0).item()
    return curve[-window:].var(correction=0).item() / total if total > 0 else None
