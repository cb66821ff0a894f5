"""Learning-rate schedules as text: `5e-3:100, 1e-3:1000`, the syntax of AUTOMATIC1111's web UI."""

import math
import warnings
from bisect import bisect_right
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tinv.errors import UserError

EXAMPLE = "write 5e-3:100, 1e-3"


def text_schedule(
    optimizer: Optimizer, schedule: str | float | Sequence[str | float], lr: float, num_training_steps: int
) -> LambdaLR:
    """Returns a schedule in which each learning rate holds until its step, and a last one without a step to the end.

    The learning rates are absolute: they replace `lr`, and `scale_lr` scales them as it scales `lr`.

    Args:
        optimizer: to schedule.
        schedule: `lr:step` separated by commas, such as `5e-3:100, 1e-3:1000, 5e-4`, or a list of these; steps are
            optimizer steps.
        lr: the optimizer's learning rate before scaling.
        num_training_steps: of the run.

    Raises:
        UserError: the text cannot be parsed, or ends before the run does.
    """
    rates, ends = parse_schedule(format_schedule(schedule))
    if ends[-1] < num_training_steps:
        raise UserError(
            f"scheduler.schedule: ends at step {ends[-1]:.0f}, but the run has {num_training_steps}. Omit the last "
            f"step to continue at {rates[-1]:g}, or set trainer.max_steps={ends[-1]:.0f}."
        )
    if len(ends) > 1 and ends[-2] >= num_training_steps:
        warnings.warn(
            f"scheduler.schedule: the run ends at step {num_training_steps}, before the rate {rates[-1]:g} begins.",
            stacklevel=1,  # a fixed line, so that building the schedule twice warns once
        )
    return LambdaLR(optimizer, lambda step: rates[min(bisect_right(ends, step), len(rates) - 1)] / lr)


def format_schedule(schedule: str | float | Sequence[str | float]) -> str:
    """Returns the schedule as one line; YAML reads a single rate as a number, and commas in brackets as a list."""
    return ", ".join(map(str, [schedule] if isinstance(schedule, str | float | int) else schedule))


def parse_schedule(schedule: str) -> tuple[list[float], list[float]]:
    """Returns the learning rates, and the step at which each ends; the last may be infinity.

    Raises:
        UserError: naming the part that cannot be parsed.
    """
    rates: list[float] = []
    ends: list[float] = []
    parts = schedule.split(",")
    for position, part in enumerate(parts):
        rate, colon, step = (piece.strip() for piece in part.partition(":"))
        has_end = bool(colon) and step != "-1"
        if position < len(parts) - 1 and not has_end:
            raise UserError(f"scheduler.schedule: {part.strip()!r} has no step. Only the last rate may omit it.")
        rates.append(_parse_rate(rate, part))
        ends.append(_parse_step(step, part, after=ends[-1] if ends else 0) if has_end else math.inf)
    return rates, ends


def _parse_rate(text: str, part: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 <= rate < math.inf:
        raise UserError(f"scheduler.schedule: {part.strip()!r} must begin with a rate of 0 or more; {EXAMPLE}.")
    return rate


def _parse_step(text: str, part: str, *, after: float) -> int:
    if not text.isdecimal() or int(text) <= after:
        raise UserError(
            f"scheduler.schedule: {part.strip()!r} must end with an integer step above {after:g}; {EXAMPLE}."
        )
    return int(text)
