"""Adds optimizer steps to a run that trains.

The extended run is the run that would be stopped after this step and resumed with a larger `trainer.max_steps`: a
schedule that depends on the number of steps, and the average over the last steps, follow the new number from here on.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch.optim.lr_scheduler import LambdaLR

from tinv.errors import UserError
from tinv.optim import inspect_factory

ADDED_STEPS = "added_steps"
"""Entry of a checkpoint: how many steps were added to the run, and how many it has with them."""
_SCHEDULE_STEPS = "num_training_steps"


def extend_run(trainer: Trainer, pl_module: Any, steps: int) -> str:
    """Adds optimizer steps; returns a sentence if that changes the learning rate of the remaining steps.

    Raises:
        UserError: the schedule of the learning rate has no values for more steps.
    """
    before = trainer.max_steps
    max_steps = before + steps
    scheduler = pl_module.lr_schedulers()
    factory, name = _with_steps(pl_module.scheduler, before, max_steps), inspect_factory(pl_module.scheduler)[0]
    if has_curve := factory is not pl_module.scheduler:
        if not isinstance(scheduler, LambdaLR):
            raise UserError(f"extend: the schedule {name} cannot be changed. Resume the run with trainer.max_steps.")
        scheduler.lr_lambdas = _lambdas(factory, scheduler)
        pl_module.scheduler = factory
    for token in pl_module.learned_tokens:
        token.set_max_steps(max_steps)
    loop = trainer.fit_loop
    loop.epoch_loop.max_steps = max_steps
    loop.max_batches = max_steps * trainer.accumulate_grad_batches
    if loop._data_fetcher is not None:
        loop._data_fetcher.length = loop.max_batches  # otherwise the epoch, which is the whole run, ends before
    return f"The learning rate follows the longer curve of {name} from here on." if has_curve else ""


def restore_extension(trainer: Trainer, pl_module: Any, entry: Any) -> int:
    """Extends a run that resumes from a checkpoint of an extended run; returns the number of added steps.

    Args:
        trainer: has not started to train.
        pl_module: the module.
        entry: what the checkpoint has under `ADDED_STEPS`. It does not apply if `trainer.max_steps` was set to another
            number than that of the run before its extension.
    """
    if not isinstance(entry, Mapping) or trainer.max_steps + entry["added"] != entry["max_steps"]:
        return 0
    pl_module.scheduler = _with_steps(pl_module.scheduler, trainer.max_steps, entry["max_steps"])
    trainer.fit_loop.epoch_loop.max_steps = entry["max_steps"]
    return int(entry["added"])


def _with_steps(factory: Any, before: int, max_steps: int) -> Any:
    """Returns a factory of schedules with another number of steps, if it has the number of the run."""
    if inspect_factory(factory)[1].get(_SCHEDULE_STEPS) != before:
        return factory
    return partial(factory, **{_SCHEDULE_STEPS: max_steps})


def _lambdas(factory: Any, scheduler: LambdaLR) -> list[Any]:
    """Returns the factors by step of a schedule for the same optimizer, without a change of that optimizer."""
    optimizer = scheduler.optimizer
    groups = [{"params": [torch.zeros(1)], "lr": lr} for lr in scheduler.base_lrs]
    longer: LambdaLR = factory(torch.optim.SGD(groups, lr=optimizer.defaults["lr"]))
    return list(longer.lr_lambdas)
