"""When it is time again, counted in optimizer steps."""

from tinv.errors import UserError


class EveryNSteps:
    """Says once for each n-th optimizer step that it is time.

    Under accumulation several batches end on the same step; only the first of them counts.
    """

    def __init__(self, num_steps: int | None, *, setting: str):
        """Args:
        num_steps: every how many steps; None is never.
        setting: the setting's name, for the message.

        Raises:
            UserError: less than one step.
        """
        if num_steps is not None and num_steps < 1:
            raise UserError(f"{setting} must be 1 or more, got {num_steps}; null turns it off")
        self._num_steps = num_steps
        self._seen = 0

    def is_multiple(self, step: int) -> bool:
        """Whether the step is one of those, be it new or not."""
        return self._num_steps is not None and step % self._num_steps == 0

    def begin(self, step: int) -> None:
        """A run begins, or goes on, after this many steps."""
        self._seen = step

    def due(self, step: int) -> bool:
        """Whether a step has been taken since the last call, and it is one of those."""
        is_new, self._seen = step != self._seen, step
        return is_new and self.is_multiple(step)
