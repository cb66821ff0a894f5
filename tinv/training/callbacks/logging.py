"""Sends metrics, images and texts to all loggers of a run that accept them.

Each entry has the number of completed optimizer steps, as the files in the run folder have in their names.
"""

from collections.abc import Mapping

from lightning.pytorch import Trainer
from PIL import Image

from tinv.training.callbacks.metric_monitor import MetricMonitor
from tinv.training.loggers.base import experiment_loggers


def log_metrics(trainer: Trainer, metrics: Mapping[str, float]) -> None:
    """Sends metrics to every logger, and to the callbacks that monitor one of them."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, MetricMonitor) and not callback.is_logged_by_lightning:
            callback.receive(trainer, trainer.lightning_module, metrics)
    for logger in trainer.loggers:
        logger.log_metrics(dict(metrics), step=trainer.global_step)
        logger.save()


def log_image(trainer: Trainer, name: str, image: Image.Image) -> None:
    """Sends an image to the experiment loggers; a sample sheet must already be in the run folder."""
    for logger in experiment_loggers(trainer.loggers):
        logger.log_image(name, image, trainer.global_step)


def log_texts(trainer: Trainer, name: str, texts: Mapping[str, str]) -> None:
    """Sends a table of texts to the experiment loggers."""
    for logger in experiment_loggers(trainer.loggers):
        logger.log_texts(name, texts, trainer.global_step)
