"""Numbers, pictures and words to whatever loggers a run has, each as far as it can take them.

Every entry bears the number of optimizer steps taken, which is also the number in the names of the files on disk.
"""

from collections.abc import Mapping

from lightning.pytorch import Trainer
from PIL import Image

from tinv.training.callbacks.metric_monitor import spread
from tinv.training.loggers.base import ExperimentLogger


def log_metrics(trainer: Trainer, metrics: Mapping[str, float]) -> None:
    """Numbers to every logger, and to the callbacks that follow one of them."""
    spread(trainer, metrics)
    for logger in trainer.loggers:
        logger.log_metrics(dict(metrics), step=trainer.global_step)
        logger.save()


def log_picture(trainer: Trainer, name: str, picture: Image.Image) -> None:
    """A picture to the boards; a sheet of samples is on disk by then."""
    for board in _boards(trainer):
        board.log_picture(name, picture, trainer.global_step)


def log_words(trainer: Trainer, name: str, rows: Mapping[str, str]) -> None:
    """A small table of texts to the boards."""
    for board in _boards(trainer):
        board.log_words(name, rows, trainer.global_step)


def _boards(trainer: Trainer) -> list[ExperimentLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, ExperimentLogger)]
