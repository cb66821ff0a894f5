"""Evaluates learned embeddings: draws samples with fixed seeds, measures them, and stores the scores beside the run."""

from tinv.evaluation.config import EvaluationConfig
from tinv.evaluation.evaluate import Evaluator, evaluate
from tinv.evaluation.targets import find_targets

__all__ = ["EvaluationConfig", "Evaluator", "evaluate", "find_targets"]
