"""Learning rates as a line of text: `5e-3:100, 1e-3:1000`, the syntax of AUTOMATIC1111's web UI."""

import math
import warnings
from bisect import bisect_right
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tinv.errors import UserError


def text_schedule(
    optimizer: Optimizer, schedule: str | float | Sequence[str | float], lr: float, num_training_steps: int
) -> LambdaLR:
    """Each rate holds until its step; the last one may leave its step out, and then holds to the end.

    The rates are absolute: they take the place of `lr`, and so `scale_lr` scales them as it scales `lr`.

    Args:
        optimizer: whose rate it is.
        schedule: `rate:step` with commas between, such as `5e-3:100, 1e-3:1000, 5e-4`, or a list of these; steps are
            optimizer steps.
        lr: the rate that the optimizer was made with, before any scaling.
        num_training_steps: of the run.

    Raises:
        UserError: the text cannot be read, or ends before the run does.
    """
    rates, ends = parse(format_schedule(schedule))
    if ends[-1] < num_training_steps:
        raise UserError(
            f"scheduler.schedule ends at step {ends[-1]:.0f}, but the run has {num_training_steps}; leave the last "
            f"step out to go on at {rates[-1]:g}, or set trainer.max_steps={ends[-1]:.0f}"
        )
    if len(ends) > 1 and ends[-2] >= num_training_steps:
        warnings.warn(
            f"scheduler.schedule: the run ends at step {num_training_steps}, before the rate {rates[-1]:g} begins",
            stacklevel=1,  # here: the schedule is built twice, and this is said once
        )
    return LambdaLR(optimizer, lambda step: rates[min(bisect_right(ends, step), len(rates) - 1)] / lr)


def format_schedule(schedule: str | float | Sequence[str | float]) -> str:
    """The schedule as one line; YAML reads a rate that stands alone as a number, and commas in brackets as a list."""
    return ", ".join(map(str, [schedule] if isinstance(schedule, str | float | int) else schedule))


def parse(schedule: str) -> tuple[list[float], list[float]]:
    """The rates, and the step at which each ends; the last may be infinity.

    Raises:
        UserError: naming the part that cannot be read.
    """
    rates: list[float] = []
    ends: list[float] = []
    parts = schedule.split(",")
    for position, part in enumerate(parts):
        rate, colon, step = (piece.strip() for piece in part.partition(":"))
        is_last = position == len(parts) - 1
        if not is_last and (not colon or step == "-1"):
            raise UserError(f"scheduler.schedule: only the last rate may leave its step out, {part.strip()!r} is not")
        rates.append(_rate(rate, part))
        ends.append(math.inf if not colon or step == "-1" else _step(step, part, after=ends[-1] if ends else 0))
    return rates, ends


def _rate(text: str, part: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 <= rate < math.inf:
        raise UserError(
            f"scheduler.schedule: {part.strip()!r} must begin with a rate of 0 or more; write 5e-3:100, 1e-3"
        )
    return rate


def _step(text: str, part: str, *, after: float) -> int:
    if not text.isdecimal() or int(text) <= after:
        raise UserError(
            f"scheduler.schedule: {part.strip()!r} must end with a whole step above {after:g}; write 5e-3:100, 1e-3"
        )
    return int(text)
