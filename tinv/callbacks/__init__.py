"""What happens beside the training: one file, one concern. None of it touches the training's randomness."""

from tinv.callbacks.checkpoints import Checkpoints
from tinv.callbacks.export import Export
from tinv.callbacks.movement import StopIfStuck
from tinv.callbacks.nonfinite import StopOnNonFinite
from tinv.callbacks.progress import Progress
from tinv.callbacks.prune import Prune
from tinv.callbacks.run_card import RunCard
from tinv.callbacks.samples import Samples
from tinv.callbacks.vitals import Vitals

__all__ = [
    "Checkpoints",
    "Export",
    "Progress",
    "Prune",
    "RunCard",
    "Samples",
    "StopIfStuck",
    "StopOnNonFinite",
    "Vitals",
]
