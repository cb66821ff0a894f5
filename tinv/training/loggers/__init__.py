"""Places where people watch runs, besides `metrics.csv`: TensorBoard, and Weights & Biases."""

from tinv.training.loggers.base import Board, watched
from tinv.training.loggers.tensorboard import TensorBoard
from tinv.training.loggers.wandb import WandbBoard

__all__ = ["Board", "TensorBoard", "WandbBoard", "watched"]
