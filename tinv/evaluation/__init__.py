"""How good learned words are: samples with fixed seeds, measured by towers, kept beside the run."""

from tinv.evaluation.evaluate import Bench, evaluate
from tinv.evaluation.settings import Settings
from tinv.evaluation.subjects import find_subjects

__all__ = ["Bench", "Settings", "evaluate", "find_subjects"]
