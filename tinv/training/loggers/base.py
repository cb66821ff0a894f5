"""What a board is told of a run besides its numbers, and of its end."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from PIL import Image

from tinv.errors import UserError


class ExperimentLogger(Logger):
    """A logger that takes pictures, words and files, too; each as far as it can."""

    def log_picture(self, name: str, picture: Image.Image, step: int) -> None:
        """A picture of the series `name`, after so many optimizer steps."""

    def log_words(self, name: str, rows: Mapping[str, str], step: int) -> None:
        """A small table of texts, each under its own word."""

    def end(self, error: BaseException | None, settings: dict[str, Any] | None = None) -> None:
        """The run is over; what it has learned is in its folder.

        Args:
            error: what it failed of; None if it went well.
            settings: of the run, in case that it failed before the board was told them.
        """


@contextmanager
def logging_run(loggers: Iterable[Logger], settings: dict[str, Any] | None = None) -> Iterator[None]:
    """Tell the boards among the loggers how the block ends.

    Args:
        loggers: of a run.
        settings: of the run, which the block will tell them itself if it gets so far.
    """
    boards = [logger for logger in loggers if isinstance(logger, ExperimentLogger)]
    try:
        yield
    except BaseException as error:
        for board in boards:
            board.end(error, settings)
        raise
    for board in boards:
        board.end(None)


def said(error: BaseException) -> str:
    """What a run failed of, in a line or a few."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}".strip(": ")
