"""How the rows are moved: optimizers and schedules that no library has in this form, the rate, what is read off."""

from tinv.optim.effective_batch import EffectiveBatch
from tinv.optim.eight_bit import adamw8bit
from tinv.optim.factories import unwrap
from tinv.optim.introspection import averages_by_itself, evaluated
from tinv.optim.riemannian_sgd import RiemannianSGD
from tinv.optim.text_lr import as_text, text_schedule

__all__ = [
    "EffectiveBatch",
    "RiemannianSGD",
    "adamw8bit",
    "as_text",
    "averages_by_itself",
    "evaluated",
    "text_schedule",
    "unwrap",
]
