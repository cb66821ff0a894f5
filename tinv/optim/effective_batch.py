"""The effective batch size and the learning rate of a run."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EffectiveBatch:
    """Samples per optimizer step and the learning rate, with the factors of both."""

    batch_size: int
    """Samples in a micro-batch of one process."""
    accumulate_grad_batches: int
    """Micro-batches per optimizer step."""
    world_size: int
    """Number of processes."""
    lr: float
    """The learning rate in the config."""
    scale_lr: bool
    """Whether to multiply the learning rate by the effective batch size, as diffusers' `--scale_lr` does."""
    schedule: str | None = None
    """A schedule in text form; it replaces `lr`."""

    @property
    def size(self) -> int:
        """The samples per optimizer step, over all processes."""
        return self.batch_size * self.accumulate_grad_batches * self.world_size

    @property
    def scaled_lr(self) -> float:
        """The learning rate that the optimizer is built with, before any schedule."""
        return self.lr * self.size if self.scale_lr else self.lr

    def __str__(self) -> str:
        """For example `effective batch 4 = 1 x 4 x 1 (...); learning rate 2e-3 = 5e-4 x 4`."""
        batch = f"{self.size} = {self.batch_size} x {self.accumulate_grad_batches} x {self.world_size}"
        factor = f" x {self.size}" if self.scale_lr else ""
        lr = self.schedule or _format_lr(self.lr)
        total = f"{_format_lr(self.scaled_lr)} = " if factor and not self.schedule else ""
        return f"effective batch {batch} (batch size x accumulation x processes); learning rate {total}{lr}{factor}"


def _format_lr(lr: float) -> str:
    """Format a learning rate the way people write it: `5e-4`."""
    if lr == 0 or 0.1 <= abs(lr) < 1e4:
        return f"{lr:g}"
    mantissa, exponent = f"{lr:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
