"""What happens beside the training: one file, one concern. None of it touches the training's randomness."""

from tinv.training.callbacks.check_learning import StopIfStuck
from tinv.training.callbacks.checkpoints import Checkpoints
from tinv.training.callbacks.dvar_stopping import StopAtRest
from tinv.training.callbacks.early_stopping import StopWhenStale
from tinv.training.callbacks.embedding_stats import Vitals
from tinv.training.callbacks.evaluation import Evaluation
from tinv.training.callbacks.export import Export
from tinv.training.callbacks.heartbeat import Heartbeat
from tinv.training.callbacks.keep_best import KeepBest
from tinv.training.callbacks.nonfinite import StopOnNonFinite
from tinv.training.callbacks.optuna_pruning import Prune
from tinv.training.callbacks.progress import Progress
from tinv.training.callbacks.run_card import RunCard
from tinv.training.callbacks.samples import Samples
from tinv.training.callbacks.slurm_requeue import Requeue

__all__ = [
    "Checkpoints",
    "Evaluation",
    "Export",
    "Heartbeat",
    "KeepBest",
    "Progress",
    "Prune",
    "Requeue",
    "RunCard",
    "Samples",
    "StopAtRest",
    "StopIfStuck",
    "StopOnNonFinite",
    "StopWhenStale",
    "Vitals",
]
