"""The interface between a run and an experiment tracker.

To add a tracker `x`, add two files, and its package to the extras in pyproject.toml; nothing else changes:

- `tinv/training/loggers/x.py` with `class XLogger(ExperimentLogger)`. If Lightning has a logger for the tracker,
  inherit from it as well, as `tensorboard.py` does. Implement Lightning's `name`, `version`, `log_hyperparams` and
  `log_metrics`, and those of the methods below that the tracker supports, each with `@rank_zero_only`. `__init__`
  takes `dir`, the run folder. It raises a `UserError` with `optional_deps.install_hint("x")` if the package is missing.
- `conf/logger/x.yaml`, which lists `csv` in its defaults and has a node `x` with
  `_target_: tinv.training.loggers.x.XLogger` and `dir: ${paths.output_dir}`.

A run calls, in this order: `__init__` and `log_hyperparams(config)` before the model loads; the `log_...` methods
during the training; Lightning's `finalize`; and `finish` last, when the final embedding is in the run folder. If the
run fails, `finish` follows directly, even if `log_hyperparams` was not called.

`step` is the number of completed optimizer steps. Steps are not in ascending order: Lightning logs the loss of a step
after the callbacks have logged the next one. A resumed run repeats steps that it has logged before; `run_artifacts.py`
and `tinv.runs.reader` read what the run folder has of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from PIL import Image


class ExperimentLogger(Logger):
    """A Lightning logger that also accepts images, texts and files; what it does not implement, it ignores."""

    def log_image(self, name: str, image: Image.Image, step: int) -> None:
        """Logs an image; a sheet of samples is already in the run folder, at the same step."""

    def log_texts(self, name: str, texts: Mapping[str, str], step: int) -> None:
        """Logs a table of short texts by their keys."""

    def finish(self, error: BaseException | None, config: dict[str, Any] | None = None) -> None:
        """Ends the run and logs its result, which is in the run folder.

        Args:
            error: why the run failed; None if it succeeded.
            config: config of the run, if it failed and may not have called `log_hyperparams`.
        """


def experiment_loggers(loggers: Iterable[Logger]) -> list[ExperimentLogger]:
    """Returns the experiment loggers among all loggers of a run."""
    return [logger for logger in loggers if isinstance(logger, ExperimentLogger)]


@contextmanager
def logging_run(loggers: Iterable[Logger], config: dict[str, Any] | None = None) -> Iterator[None]:
    """Finishes the experiment loggers among those of a run when the block ends or raises."""
    try:
        yield
    except BaseException as error:
        for logger in experiment_loggers(loggers):
            logger.finish(error, config)
        raise
    for logger in experiment_loggers(loggers):
        logger.finish(None)
