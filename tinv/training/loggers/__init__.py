"""Places where people watch runs, besides `metrics.csv`: TensorBoard, and Weights & Biases."""

from tinv.training.loggers.base import ExperimentLogger, logging_run
from tinv.training.loggers.tensorboard import TensorBoardLogger
from tinv.training.loggers.wandb import WandbLogger

__all__ = ["ExperimentLogger", "TensorBoardLogger", "WandbLogger", "logging_run"]
