"""How much a run takes in at each step, and how far it goes with it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EffectiveBatch:
    """The effective batch and the learning rate, and what they are made of."""

    batch_size: int
    """Samples in a micro-batch of one process."""
    accumulate: int
    """Micro-batches to an optimizer step."""
    processes: int
    lr: float
    """As it is written in the settings."""
    scale_lr: bool
    """Whether the rate grows with the effective batch, as `--scale_lr` of the reference script has it."""
    schedule: str | None = None
    """Rates as text, which take the place of `lr`."""

    @property
    def effective_batch(self) -> int:
        """Samples to an optimizer step, over all processes."""
        return self.batch_size * self.accumulate * self.processes

    @property
    def rate(self) -> float:
        """What the optimizer is made with, before any schedule."""
        return self.lr * self.effective_batch if self.scale_lr else self.lr

    def __str__(self) -> str:
        """For example `effective batch 4 = 1 x 4 x 1 (...); learning rate 2e-3 = 5e-4 x 4`."""
        batch = f"{self.effective_batch} = {self.batch_size} x {self.accumulate} x {self.processes}"
        by = f" x {self.effective_batch}" if self.scale_lr else ""
        if self.schedule is not None:
            rate = f"{self.schedule}{by}"
        else:
            rate = f"{_short(self.rate)} = {_short(self.lr)}{by}" if by else _short(self.rate)
        return f"effective batch {batch} (batch size x accumulation x processes); learning rate {rate}"


def _short(rate: float) -> str:
    """`5e-4`, as people write rates."""
    if rate == 0 or 0.1 <= abs(rate) < 1e4:
        return f"{rate:g}"
    mantissa, exponent = f"{rate:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
