"""What happens beside the training: one file, one concern. None of it touches the training's randomness."""

from tinv.callbacks.checkpoints import Checkpoints
from tinv.callbacks.evaluation import Evaluation
from tinv.callbacks.export import Export
from tinv.callbacks.heartbeat import Heartbeat
from tinv.callbacks.keep_best import KeepBest
from tinv.callbacks.movement import StopIfStuck
from tinv.callbacks.nonfinite import StopOnNonFinite
from tinv.callbacks.progress import Progress
from tinv.callbacks.prune import Prune
from tinv.callbacks.requeue import Requeue
from tinv.callbacks.rest import StopAtRest
from tinv.callbacks.run_card import RunCard
from tinv.callbacks.samples import Samples
from tinv.callbacks.stale import StopWhenStale
from tinv.callbacks.vitals import Vitals

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
