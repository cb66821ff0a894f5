"""Optimizers and schedules that no library has in this form, and what the training loop asks of any optimizer."""

from tinv.optim.effective_batch import EffectiveBatch
from tinv.optim.eight_bit import adamw8bit
from tinv.optim.introspection import eval_mode, has_eval_mode, inspect_factory
from tinv.optim.riemannian_sgd import RiemannianSGD
from tinv.optim.text_lr import format_schedule, text_schedule

__all__ = [
    "EffectiveBatch",
    "RiemannianSGD",
    "adamw8bit",
    "eval_mode",
    "format_schedule",
    "has_eval_mode",
    "inspect_factory",
    "text_schedule",
]
