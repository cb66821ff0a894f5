"""An interval, counted in optimizer steps."""

from tinv.errors import require_minimum


class EveryNSteps:
    """Reports each n-th optimizer step once, however many micro-batches the step consists of."""

    def __init__(self, num_steps: int | None, *, setting: str):
        """An interval of None is never; `setting` is its name in the error message.

        Raises:
            UserError: the interval is less than one step.
        """
        require_minimum(setting, num_steps, 1, "null turns it off.")
        self._num_steps, self._last_step = num_steps, 0

    def is_multiple(self, step: int) -> bool:
        """Returns whether the step is a multiple of the interval."""
        return self._num_steps is not None and step % self._num_steps == 0

    def reset(self, step: int) -> None:
        """Starts counting at the step at which a run starts or resumes."""
        self._last_step = step

    def is_due(self, step: int) -> bool:
        """Returns whether the step is new since the last call and a multiple of the interval."""
        is_new, self._last_step = step != self._last_step, step
        return is_new and self.is_multiple(step)
