"""Tries the trainer, optimizer and scheduler on a parameter of one number, before the model's weights load."""

import math
import traceback
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from omegaconf import DictConfig, ListConfig
from torch import nn
from torch.optim import Optimizer

from tinv.config.validate import ConfigError, build
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError
from tinv.optim import RiemannianSGD, has_eval_mode

_LIBRARY_ERRORS = (MisconfigurationException, ValueError, TypeError, AssertionError, RuntimeError, ImportError)
"""What libraries raise for arguments that they do not accept."""


def try_optimizer(cfg: DictConfig, embeddings: Mapping[str, EmbeddingConfig | None]) -> None:
    """Builds trainer, optimizer and scheduler, makes one step, and discards all of it.

    Args:
        cfg: composed and checked settings.
        embeddings: of each concept, by the setting that holds it, such as `extra_concepts.robot`; None where it could
            not be built.

    Raises:
        ConfigError: with the problem of each.
    """
    problems = [*_trainer_problems(cfg.trainer), *_precision_problems(cfg), *_range_problems(cfg.optimizer)]
    if not problems:
        try:
            optimizer = _step(cfg, _device(cfg))
            problems += _lr_problems(cfg)
            for setting, embedding in embeddings.items():
                prefix = f"{setting}: " if setting else ""
                if embedding:
                    problems += [f"{prefix}{message}" for message in _embedding_problems(cfg, optimizer, embedding)]
            _attempt("scheduler", lambda: build(cfg.scheduler)(optimizer))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(problems)
    for group, name in (("scheduler", "num_warmup_steps"), ("optimizer", "warmup_steps")):
        steps = cfg[group].get(name) or 0
        if steps >= cfg.trainer.max_steps:
            rank_zero_warn(
                f"{group}.{name}={steps}: the learning rate never reaches optimizer.lr, because the run ends at step "
                f"{cfg.trainer.max_steps}."
            )


def _trainer_problems(trainer: DictConfig) -> Iterator[str]:
    accumulate = trainer.get("accumulate_grad_batches", 1)
    if accumulate < 1:
        yield f"trainer.accumulate_grad_batches={accumulate}: must be 1 or more."
    if trainer.get("max_epochs") is not None:
        yield (
            f"trainer.max_epochs={trainer.max_epochs}: has no effect, because one epoch is the whole run. Set "
            f"trainer.max_steps."
        )
    if trainer.get("accelerator") == "tpu" and not find_spec("torch_xla"):
        yield (
            "trainer=tpu: the package torch_xla is not installed. Run `pip install torch_xla` on the TPU's machine, "
            "or set trainer=gpu or trainer=cpu."
        )

    yield from _device_problems(trainer)


def _device_problems(trainer: DictConfig) -> Iterator[str]:
    """Yields what the trainer asks for and this machine does not have."""
    accelerator, devices = trainer.get("accelerator", "auto"), trainer.get("devices", "auto")
    if accelerator not in ("gpu", "cuda", "mps"):
        return
    has_mps, count = torch.backends.mps.is_available(), torch.cuda.device_count()
    if not (has_mps and accelerator != "cuda") and not (count and accelerator != "mps"):
        processes = f" trainer.devices={devices}" if devices not in (1, "auto") else ""
        yield (
            f"trainer.accelerator={accelerator}: PyTorch finds no such device on this machine. Set trainer=cpu, "
            f"several processes with trainer=ddp trainer.accelerator=cpu trainer.precision=32-true{processes}, or "
            f"install a PyTorch that supports the GPU."
        )
    elif isinstance(devices, int) and accelerator != "mps" and devices > max(count, 1):
        yield f"trainer.devices={devices}: this machine has {max(count, 1)}. Set trainer.devices=auto for all of them."


def _precision_problems(cfg: DictConfig) -> Iterator[str]:
    """Yields what a CPU cannot compute."""
    accelerator, precision, dtype = cfg.trainer.get("accelerator"), cfg.trainer.get("precision"), cfg.model.get("dtype")
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    is_cpu = accelerator == "cpu" or (accelerator in (None, "auto") and not has_gpu)
    if is_cpu and (dtype == "float16" or precision in ("16-mixed", "16", 16)):
        yield (
            f"trainer.precision={precision} model.dtype={dtype}: the CPU of this run cannot train in float16. "
            f"Set trainer.precision=32-true model.dtype=float32, or use a GPU."
        )


def _range_problems(optimizer: DictConfig) -> Iterator[str]:
    """Yields the settings of the optimizer that are out of range for every optimizer."""
    for name in ("lr", "weight_decay", "eps", "betas", "momentum"):
        value = optimizer.get(name)
        for number in value if isinstance(value, ListConfig) else [value]:
            if not isinstance(number, int | float):
                continue
            if number < 0 or not math.isfinite(number):
                yield f"optimizer.{name}={value}: must be 0 or more."
            elif name == "betas" and number >= 1:
                yield f"optimizer.{name}={value}: must be below 1; 0.9 and 0.999 are usual."


def _device(cfg: DictConfig) -> torch.device:
    trainer: Trainer = _attempt("trainer", lambda: build(cfg.trainer, logger=False))
    return torch.device("cpu") if cfg.trainer.get("accelerator") == "tpu" else trainer.strategy.root_device


def _step(cfg: DictConfig, device: torch.device) -> Optimizer:
    """Returns a new optimizer, after an equal one has made a step.

    Raises:
        UserError: the optimizer cannot be built, cannot step, or cannot train several concepts independently.
    """
    rates = [None, *(node.lr for node in cfg.extra_concepts.values())]

    def make(rates: list[float | None]) -> Any:
        return build(cfg.optimizer)([_parameter_group(lr, device) for lr in rates])

    def step() -> Optimizer:
        if len(rates) > 1 and "d" in (single := make([None])).param_groups[0]:
            raise UserError(
                f"optimizer: {type(single).__name__} estimates one learning rate for all vectors, so each concept "
                f"would depend on the others. Set optimizer=adamw, or learn each concept in a run of its own."
            )
        optimizer = make(rates)
        if has_eval_mode(optimizer):
            optimizer.train()
        optimizer.step()
        return make(rates)

    return _attempt("optimizer", step)


def _parameter_group(lr: float | None, device: torch.device) -> dict[str, Any]:
    parameter = nn.Parameter(torch.zeros(1, 1, device=device))
    parameter.grad = torch.ones_like(parameter)
    return {"params": [parameter], **({} if lr is None else {"lr": lr})}


def _lr_problems(cfg: DictConfig) -> list[str]:
    return [
        f"extra_concepts.{name}.lr={node.lr}: has no effect with the absolute rates of scheduler.schedule. Set "
        f"extra_concepts.{name}.lr=null, or another scheduler."
        for name, node in cfg.extra_concepts.items()
        if node.lr is not None and "schedule" in cfg.scheduler
    ]


def _embedding_problems(cfg: DictConfig, optimizer: Optimizer, embedding: EmbeddingConfig) -> Iterator[str]:
    """Yields a message for each embedding setting that does not go with the optimizer or with early stopping."""
    if has_eval_mode(optimizer):
        for setting in ("ema", "average_last"):
            if value := getattr(embedding, setting):
                yield (
                    f"embedding.{setting}={value}: this optimizer averages the vectors itself. Set "
                    f"embedding.{setting}=0."
                )
        if embedding.norm != "free":
            yield (
                f"embedding.norm={embedding.norm}: would constrain the vectors in training, but this optimizer "
                f"exports their average. Set embedding.norm=free, or optimizer=adamw."
            )
    is_riemannian = isinstance(optimizer, RiemannianSGD)
    if is_riemannian and embedding.norm != "directional":
        yield (
            f"embedding.norm={embedding.norm}: optimizer=rsgd changes only the direction of vectors. Set "
            f"embedding.norm=directional, or optimizer=adamw."
        )
    if embedding.norm == "directional" and not is_riemannian:
        yield ("embedding.norm=directional: requires optimizer=rsgd. Set it, or set embedding.norm=fixed.")
    if embedding.average_last and cfg.early_stopping:
        yield (
            f"embedding.average_last={embedding.average_last}: needs a fixed run length, but early stopping is on. "
            f"Set early_stopping=none, or use embedding.ema."
        )


def _attempt(setting: str, make: Callable[[], Any]) -> Any:
    """Returns what `make` returns; turns a library's error into a UserError with its first line or its line of code."""
    try:
        return make()
    except UserError:
        raise
    except _LIBRARY_ERRORS as error:
        message = str(error).strip().partition("\n")[0] or traceback.extract_tb(error.__traceback__)[-1].line or ""
        reason = message.rstrip(".")
        raise UserError(f"{setting}: refuses its settings: {reason}. Correct the group {setting}.") from error
