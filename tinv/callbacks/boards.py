"""Numbers, pictures and words to whatever loggers a run has, each as far as it can take them.

Every entry bears the number of optimizer steps taken, which is also the number in the names of the files on disk.
"""

from collections.abc import Mapping

import numpy as np
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image


def log_metrics(trainer: Trainer, metrics: Mapping[str, float]) -> None:
    """Numbers to every logger."""
    for logger in trainer.loggers:
        logger.log_metrics(dict(metrics), step=trainer.global_step)
        logger.save()


def log_picture(trainer: Trainer, name: str, picture: Image.Image) -> None:
    """A picture to TensorBoard and Weights & Biases."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, np.asarray(picture), trainer.global_step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [picture], step=trainer.global_step)


def log_words(trainer: Trainer, name: str, rows: Mapping[str, str]) -> None:
    """A small table of texts to TensorBoard, and its latest state to the summary of Weights & Biases."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            lines = [f"| `{word}` | {text} |" for word, text in rows.items()]
            logger.experiment.add_text(name, "\n".join(["| | |", "|---|---|", *lines]), trainer.global_step)
        elif isinstance(logger, WandbLogger):
            logger.experiment.summary.update({f"{name}/{word}": text for word, text in rows.items()})
