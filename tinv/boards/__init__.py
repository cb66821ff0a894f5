"""Places where people watch runs, besides `metrics.csv`: TensorBoard, and Weights & Biases."""

from tinv.boards.board import Board, watched
from tinv.boards.tensor_board import TensorBoard
from tinv.boards.wandb_board import WandbBoard

__all__ = ["Board", "TensorBoard", "WandbBoard", "watched"]
