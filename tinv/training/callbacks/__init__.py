"""What happens beside the training: one file, one concern. None of it touches the training's randomness."""

from tinv.training.callbacks.check_learning import CheckLearning
from tinv.training.callbacks.checkpoints import Checkpoints
from tinv.training.callbacks.dvar_stopping import DVARStopping
from tinv.training.callbacks.early_stopping import EarlyStopping
from tinv.training.callbacks.embedding_stats import EmbeddingStats
from tinv.training.callbacks.evaluation import Evaluation
from tinv.training.callbacks.export import Export
from tinv.training.callbacks.keep_best import KeepBest
from tinv.training.callbacks.nonfinite import StopOnNonFinite
from tinv.training.callbacks.optuna_pruning import OptunaPruning
from tinv.training.callbacks.progress import Progress
from tinv.training.callbacks.progress_file import ProgressFile
from tinv.training.callbacks.run_card import RunCard
from tinv.training.callbacks.samples import Samples
from tinv.training.callbacks.slurm_requeue import SlurmRequeue

__all__ = [
    "CheckLearning",
    "Checkpoints",
    "DVARStopping",
    "EarlyStopping",
    "EmbeddingStats",
    "Evaluation",
    "Export",
    "KeepBest",
    "OptunaPruning",
    "Progress",
    "ProgressFile",
    "RunCard",
    "Samples",
    "SlurmRequeue",
    "StopOnNonFinite",
]
