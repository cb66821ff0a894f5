"""What moves the rows, tried on a row of one number before the model's weights load."""

import traceback
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer

from tinv.config.validate import ConfigError, build
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError
from tinv.optim import RiemannianSGD, has_eval_mode

_OBJECTIONS = (MisconfigurationException, ValueError, TypeError, AssertionError, RuntimeError, ImportError)
"""How libraries say that they do not like their arguments."""


def try_optimizer(cfg: DictConfig, embeddings: Mapping[str, EmbeddingConfig | None]) -> None:
    """Build trainer, optimizer and schedule, make one step, and throw all of it away.

    Args:
        cfg: composed and checked.
        embeddings: built from it, if they could be: of each concept, by the place where it is set.

    Raises:
        ConfigError: with what each of them has against the settings or the machine.
    """
    problems = list(_of_the_loop(cfg.trainer))
    if not problems:
        try:
            optimizer = _optimizer(cfg, _device(cfg))
            problems.extend(_of_the_rates(cfg))
            for where, embedding in embeddings.items():
                before = f"{where}: " if where else ""
                problems.extend(f"{before}{said}" for said in _of_the_average(optimizer, embedding))
                problems.extend(f"{before}{said}" for said in _of_the_sphere(optimizer, embedding))
                problems.extend(f"{before}{said}" for said in _of_the_end(cfg, embedding))
            _heard("scheduler", lambda: build(cfg.scheduler)(optimizer))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(problems)
    _warn_of_warm_ups(cfg)


def _of_the_loop(trainer: DictConfig) -> list[str]:
    problems = []
    if trainer.get("accumulate_grad_batches", 1) < 1:
        problems.append(f"trainer.accumulate_grad_batches must be 1 or more, got {trainer.accumulate_grad_batches}")
    if trainer.get("max_epochs") is not None:
        problems.append("trainer.max_epochs counts nothing, for one epoch is the whole run; set trainer.max_steps")
    if trainer.get("accelerator") == "tpu" and not find_spec("torch_xla"):
        problems.append(
            "trainer=tpu needs the package torch_xla, which is not installed: pip install torch_xla on the TPU's own "
            "machine, or take trainer=gpu or trainer=cpu"
        )
    return problems


def _device(cfg: DictConfig) -> torch.device:
    trainer: Trainer = _heard("trainer", lambda: build(cfg.trainer, logger=False))
    return torch.device("cpu") if cfg.trainer.get("accelerator") == "tpu" else trainer.strategy.root_device


def _optimizer(cfg: DictConfig, device: torch.device) -> Optimizer:
    rates = [None, *(node.lr for node in cfg.extra_concepts.values())]

    def made(rates: list[float | None]) -> Any:
        return build(cfg.optimizer)([_group(rate, device) for rate in rates])

    def step() -> Optimizer:
        if len(rates) > 1:
            _object_to_a_joint_rate(cfg, made([None]))
        optimizer = made(rates)
        if has_eval_mode(optimizer):
            optimizer.train()
        optimizer.step()
        return made(rates)

    return _heard("optimizer", step)


def _group(rate: float | None, device: torch.device) -> dict[str, Any]:
    """A concept's share of the optimizer."""
    row = nn.Parameter(torch.zeros(1, 1, device=device))
    row.grad = torch.ones_like(row)
    return {"params": [row], **({} if rate is None else {"lr": rate})}


def _object_to_a_joint_rate(cfg: DictConfig, optimizer: Optimizer) -> None:
    if "d" in optimizer.param_groups[0]:
        raise UserError(
            f"optimizer: {type(optimizer).__name__} looks for one rate for all rows together, so that what a concept "
            f"learns would depend on the others; take optimizer=adamw, or learn {', '.join(cfg.extra_concepts)} in another run"
        )


def _of_the_rates(cfg: DictConfig) -> list[str]:
    return [
        f"extra_concepts.{name}.lr={node.lr}: the rates of scheduler.schedule take the place of all others; "
        f"set extra_concepts.{name}.lr=null, or choose another scheduler"
        for name, node in cfg.extra_concepts.items()
        if node.lr is not None and "schedule" in cfg.scheduler
    ]


def _of_the_average(optimizer: Optimizer, embedding: EmbeddingConfig | None) -> list[str]:
    if embedding is None or not has_eval_mode(optimizer):
        return []
    problems = []
    for setting in ("ema", "average_last"):
        if getattr(embedding, setting):
            problems.append(
                f"embedding.{setting}: this optimizer averages the rows by itself; set embedding.{setting}=0"
            )
    if embedding.norm != "free":
        problems.append(
            f"embedding.norm={embedding.norm} would hold the rows that are stepped, but this optimizer shows their "
            f"average; set embedding.norm=free, or take optimizer=adamw"
        )
    return problems


def _of_the_end(cfg: DictConfig, embedding: EmbeddingConfig | None) -> list[str]:
    if embedding is None or not embedding.average_last or not cfg.early_stopping:
        return []
    said = "which steps are the last nobody knows where stop may end the run before; set early_stopping=none, or embedding.ema"
    return [f"embedding.average_last: {said}"]


def _of_the_sphere(optimizer: Optimizer, embedding: EmbeddingConfig | None) -> Iterator[str]:
    turns = isinstance(optimizer, RiemannianSGD)
    if embedding is None or turns == (embedding.norm == "directional"):
        return
    if turns:
        yield (
            f"optimizer=rsgd turns rows and keeps their length, and goes with embedding.norm=directional alone, got "
            f"embedding.norm={embedding.norm}; set that, or take optimizer=adamw"
        )
    else:
        yield (
            "embedding.norm=directional learns where rows point, which is optimizer=rsgd's to do; take that, or "
            "embedding.norm=fixed with this optimizer"
        )


def _heard(setting: str, make: Callable[[], Any]) -> Any:
    """What is made, or the library's objection as ours: its first line, or that of the code that it comes from."""
    try:
        return make()
    except UserError:
        raise
    except _OBJECTIONS as error:
        said = str(error).strip().partition("\n")[0] or traceback.extract_tb(error.__traceback__)[-1].line
        raise UserError(f"{setting}: {said}") from error


def _warn_of_warm_ups(cfg: DictConfig) -> None:
    for group, name in (("scheduler", "num_warmup_steps"), ("optimizer", "warmup_steps")):
        steps = cfg[group].get(name) or 0
        if steps >= cfg.trainer.max_steps:
            rank_zero_warn(
                f"{group}.{name}={steps}: the run ends at step {cfg.trainer.max_steps}, before the rate has risen to "
                f"optimizer.lr"
            )
