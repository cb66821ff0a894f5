"""Errors that are meant for the user."""

import difflib
import signal
from collections.abc import Iterable


class UserError(ValueError):
    """A wrong setting, file or environment; the message says what is wrong and what to do.

    `train.py` and `tinv ...` print the message alone. Every other exception is a bug and keeps its traceback.
    """


class RunInterrupted(SystemExit):
    """A signal ends the command, whose exit code is 128 plus its number. Libraries let a SystemExit pass."""

    advice = ""
    """How to go on."""

    def __init__(self, number: int, detail: str = ""):
        """detail: the error that the signal caused."""
        super().__init__(128 + number)
        self.exit_code = 128 + number
        self.message = f"interrupted by {signal.Signals(number).name}{f' ({detail})' if detail else ''}"

    def __str__(self) -> str:
        return self.message


class RunDiscarded(RunInterrupted):
    """The user has discarded the run: it ends without a result, as requested."""

    def __init__(self, message: str):
        SystemExit.__init__(self, 0)
        self.exit_code, self.message = 0, message


def require_minimum(setting: str, value: float | None, minimum: float, hint: str = "") -> None:
    """Checks that a setting is None or at least its minimum.

    Args:
        setting: dotted name of the setting.
        value: its value.
        minimum: smallest allowed value.
        hint: what to do instead, as a sentence.

    Raises:
        UserError: the value is less than the minimum.
    """
    if value is not None and value < minimum:
        raise UserError(f"{setting}={value}: must be {minimum} or more. {hint}".rstrip())


def error_message(error: BaseException) -> str:
    """Returns the message of an error that is meant for the user, or the type and the message of any other error."""
    return (
        str(error) if isinstance(error, UserError | RunInterrupted) else f"{type(error).__name__}: {error}".strip(": ")
    )


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Returns a hint in parentheses: the closest candidate, or all of at most 20 candidates; or an empty string."""
    candidates = list(candidates)
    if matches := difflib.get_close_matches(word, candidates, n=1):
        return f" (did you mean {matches[0]}?)"
    return f" (there are {', '.join(sorted(candidates))})" if 0 < len(candidates) <= 20 else ""
