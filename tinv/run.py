"""A run, from checked settings to a learned word."""

import logging
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from omegaconf import DictConfig, OmegaConf

from tinv import rundir, shelf
from tinv.callbacks.checkpoints import newest_valid
from tinv.callbacks.phases import phase
from tinv.config import ConfigError, build
from tinv.datamodule import ConceptDataModule
from tinv.errors import UserError
from tinv.models import load_tokenizers
from tinv.models.runtime import check_loss_scale
from tinv.module import TextualInversion
from tinv.rehearsal import rehearse

THUMBNAIL = 64
"""Pixels to which pictures are cut when they are only tried, before the model is there to say what it wants."""
_FORMAT_WARNING = warnings.formatwarning


def train(cfg: DictConfig) -> float | None:
    """Learn the concept that the settings describe.

    Args:
        cfg: composed and checked.

    Returns:
        The monitored number at the end, or None if none is monitored.

    Raises:
        UserError: a setting, a file or the machine stands in the way.
    """
    _hush_lightning()
    warnings.formatwarning = in_a_line
    torch.manual_seed(cfg.seed)
    callbacks: list[Callback] = [build(node) for node in cfg.callbacks.values()]
    with phase(callbacks, "loading"):
        data = prepare(cfg)
        model = shelf.take(OmegaConf.to_yaml(cfg.model), lambda: build(cfg.model))
        others = [key for key in cfg.module if key != "model"]
        module: TextualInversion = build(OmegaConf.masked_copy(cfg.module, others), model=model)
    loggers = [build(node) for node in cfg.logger.values()]
    trainer: Trainer = build(cfg.trainer, callbacks=callbacks, logger=loggers or False)
    with phase(callbacks, "encoding"), model.vae_on_call.at(trainer.strategy.root_device):
        data.connect(model.encode_images, resolution=model.resolution)  # before the rest takes the device's memory
    if trainer.is_global_zero:
        print(module.pace(trainer, data), flush=True)
    trainer.fit(module, data, ckpt_path=_checkpoint(cfg), weights_only=True)
    if trainer.is_global_zero:
        print(_farewell(module, Path(cfg.paths.run)))
    result = _monitored(cfg.monitor, trainer, module, data)
    shelf.put_back(model)
    if cfg.hub.push and trainer.is_global_zero:
        print(f"uploaded: {build(cfg.hub).publish(Path(cfg.paths.run))}")
    return result


def prepare(cfg: DictConfig) -> ConceptDataModule:
    """The pictures' datamodule, once everything is checked that can be checked without the model's weights.

    Raises:
        ConfigError: naming every problem.
    """
    problems: list[str] = []

    def attempt(make: Callable[[], Any]) -> Any:
        try:
            return make()
        except ConfigError as error:
            problems.extend(error.problems)
        except UserError as error:
            problems.append(str(error))
        return None

    if cfg.trainer.max_steps < 1:
        problems.append(
            f"trainer.max_steps is the length of the run and must be 1 or more, got {cfg.trainer.max_steps}"
        )
    concept, embedding = attempt(lambda: build(cfg.concept)), attempt(lambda: build(cfg.embedding))
    data: ConceptDataModule | None = attempt(lambda: build(cfg.data)) if concept else None
    told = {key: cfg.model[key] for key in ("pretrained", "revision", "tokenizer", "config") if key in cfg.model}
    tokenizers = attempt(lambda: load_tokenizers(**told)) or {}
    for tokenizer in tokenizers.values() if concept and embedding else ():
        attempt(partial(embedding.check, concept, tokenizer, data.captions if data else {}))
    attempt(lambda: check_loss_scale(cfg.model.get("dtype"), cfg.trainer.get("precision")))
    attempt(lambda: rehearse(cfg, embedding))
    if data:
        for path in data.images:
            attempt(partial(data.open, path, resolution=THUMBNAIL))
    attempt(lambda: build(cfg.hub).check())
    if problems or data is None:
        raise ConfigError(dict.fromkeys(problems))
    return data


def _checkpoint(cfg: DictConfig) -> Path | None:
    """The checkpoint to go on from; where that one is broken, the one before it, with a warning."""
    if cfg.resume is None:
        return None
    chosen = rundir.find(cfg.paths.run, cfg.resume)
    siblings = rundir.checkpoints(chosen.parent.parent)
    older = [path for path in siblings if rundir.step_of(path) < rundir.step_of(chosen)]
    return newest_valid([chosen, *older])


def _monitored(name: str | None, trainer: Trainer, module: TextualInversion, data: ConceptDataModule) -> float | None:
    if name is None:
        return None
    if name not in trainer.callback_metrics:  # a resumed run that had been complete already
        trainer.validate(module, data, verbose=False)
    if name not in trainer.callback_metrics:
        known = ", ".join(sorted(trainer.callback_metrics)) or "none"
        raise UserError(f"monitor: this run logged no {name!r}; set monitor to one of {known}, or to null")
    return float(trainer.callback_metrics[name])


def _farewell(module: TextualInversion, run: Path) -> str:
    with suppress(ValueError):
        run = run.relative_to(Path.cwd())
    prompt = "a {} on the beach" if module.concept.kind == "object" else "a house in the style of {}"
    return (
        f"learned {module.concept.placeholder} in {module.global_step} steps: {run}\n"
        f'try it:  tinv generate --embedding {run} "{prompt}"'
    )


def in_a_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as it is printed; our own are for the user, who need not know the place in the source."""
    if category is UserWarning and Path(filename).is_relative_to(Path(__file__).parent):
        return f"warning: {message}\n"
    return _FORMAT_WARNING(message, category, filename, lineno, line)


def _hush_lightning() -> None:
    """Lightning's advice is for other kinds of run: our loader resumes by itself, our model is meant to be frozen."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for advice in (
        ".*does not have many workers.*",
        ".*module.* in eval mode at the start of training.*",
        ".*your dataloader is not resumable.*",
        ".*isinstance.treespec, LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", message=advice)
