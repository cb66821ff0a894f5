"""A figure is a median with its spread."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Figure:
    """Median and quartiles of several measurements."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """The figure of `values`, rounded to four digits."""
        low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else (values[0],) * 3
        return cls(*(float(f"{value:.4g}") for value in (median(values), low, high)), len(values))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}-{self.high:.3g})"

    def as_json(self) -> dict[str, float]:
        """For a file."""
        return asdict(self)


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Figure:
    """The ratios theirs / ours of pairs that were measured one after the other."""
    return Figure.of([a / b for a, b in zip(theirs, ours, strict=True)])
