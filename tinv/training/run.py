"""A run, from checked settings to a learned word."""

import logging
import warnings
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from tinv.config.validate import build
from tinv.data.datamodule import MultiConceptDataModule
from tinv.data.latent_cache import LatentCache, cache_folder
from tinv.errors import UserError
from tinv.models import LatentDiffusion
from tinv.models.runtime import set_compile_cache
from tinv.models.vae import encoding_identity
from tinv.runs import layout as rundir
from tinv.runs.environment import hydra_choices
from tinv.sweeps import model_cache
from tinv.training.callbacks import KeepBest
from tinv.training.callbacks.checkpoints import newest_valid
from tinv.training.callbacks.timing import phase
from tinv.training.concept_task import ConceptTask
from tinv.training.initializer_search import resolve_initializer
from tinv.training.loggers.base import logging_run
from tinv.training.module import TextualInversion
from tinv.training.preflight import prepare

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
    loggers: list[Logger] = [build(node) for node in cfg.logger.values()]
    settings = sentence(cfg)
    with logging_run(loggers, settings):
        return _learn(cfg, loggers, settings)


def _learn(cfg: DictConfig, loggers: list[Logger], settings: dict[str, Any]) -> float | None:
    torch.manual_seed(cfg.seed)
    callbacks: list[Callback] = [
        build(node) for node in (cfg.early_stopping, cfg.keep, *cfg.callbacks.values()) if node
    ]
    with phase(callbacks, "loading"):
        lessons = prepare(cfg)
        for logger in loggers:
            logger.log_hyperparams(settings)
        if cfg.model.compile and (kept := cache_folder(cfg.paths.cache_dir)):
            set_compile_cache(kept / "compiled")
        model = model_cache.get(OmegaConf.to_yaml(cfg.model), lambda: build(cfg.model))
        first, *others = [_begun(lesson, cfg.model.pretrained, model) for lesson in lessons]
        late = {"model": model, "concept": first.concept, "embedding": first.embedding, "extra_concepts": others}
        wiring = OmegaConf.masked_copy(cfg.module, [key for key in cfg.module if key not in late])
        module: TextualInversion = build(wiring, **late)
    data = MultiConceptDataModule([lesson.data for lesson in lessons])
    trainer: Trainer = build(cfg.trainer, callbacks=callbacks, logger=loggers or False)
    device = trainer.strategy.root_device
    with phase(callbacks, "encoding"), _encoder(cfg.paths, model, device) as encode, model.offloaded_vae.on(device):
        data.encode_images(encode, resolution=model.resolution)  # before the rest takes the device's memory
    if trainer.is_global_zero:
        for word, pace in zip(module.learned_tokens, module.paces(trainer, data), strict=True):
            print(f"{f'{word.placeholder_token}: ' if word.name else ''}{pace}", flush=True)
    trainer.fit(module, data, ckpt_path=_checkpoint(cfg), weights_only=True)
    if trainer.is_global_zero:
        print(_farewell(module, Path(cfg.paths.output_dir)))
    result = _monitored(cfg.monitor, trainer, module, data)
    model_cache.put(model)
    if cfg.hub.push and trainer.is_global_zero:
        print(f"uploaded: {build(cfg.hub).publish(Path(cfg.paths.output_dir))}")
    return result


def sentence(cfg: DictConfig) -> dict[str, Any]:
    """The experiment as boards show it: the settings, what was typed, and which option was chosen of each group."""
    settings: Any = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "module"]))
    told = hydra_choices(Path(cfg.paths.output_dir)) or {}
    return {**settings, **{key: told[key] for key in ("overrides", "choices") if key in told}}


def _encoder(paths: DictConfig, model: LatentDiffusion, device: torch.device) -> Any:
    """The model's encoder, in a block; with a memory, if there is a place for one."""
    if (folder := cache_folder(paths.cache_dir)) is None:
        return nullcontext(model.encode_images)
    encoder = encoding_identity(model.vae, device)
    return LatentCache(model.encode_images, folder, encoder=encoder, max_bytes=int(paths.cache_max_gb * 1e9))


def _begun(lesson: ConceptTask, pretrained: str, model: LatentDiffusion) -> ConceptTask:
    """The lesson with its first word; says which that is, if it was looked for."""
    chosen, said = resolve_initializer(lesson, pretrained, model.tokenizers)
    if said:
        rank_zero_only(print)(said, flush=True)
    return chosen


def _checkpoint(cfg: DictConfig) -> Path | None:
    """The checkpoint to go on from; where that one is broken, the one before it, with a warning."""
    if cfg.resume is None:
        return None
    if cfg.resume == rundir.AUTO:
        return _own_checkpoint(Path(cfg.paths.output_dir))
    chosen = rundir.find(cfg.paths.output_dir, cfg.resume)
    siblings = rundir.checkpoints(chosen.parent.parent)
    older = [path for path in siblings if rundir.step_of(path) < rundir.step_of(chosen)]
    return newest_valid([chosen, *older])


def _own_checkpoint(run: Path) -> Path | None:
    """The newest good checkpoint in the run's own folder; where there is none, nobody is there to ask: it begins."""
    found = rundir.checkpoints(run)
    try:
        return newest_valid(found) if found else None
    except UserError as error:
        warnings.warn(f"begins again: {error}", stacklevel=2)
        return None


def _monitored(
    name: str | None, trainer: Trainer, module: TextualInversion, data: MultiConceptDataModule
) -> float | None:
    if name is None:
        return None
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, KeepBest) and callback.monitor == name and callback.value is not None:
            return callback.value
    if name not in trainer.callback_metrics:  # a resumed run that had been complete already
        trainer.validate(module, data, verbose=False)
    if name not in trainer.callback_metrics:
        known = ", ".join(sorted(trainer.callback_metrics)) or "none"
        raise UserError(f"monitor: this run logged no {name!r}; set monitor to one of {known}, or to null")
    return float(trainer.callback_metrics[name])


def _farewell(module: TextualInversion, run: Path) -> str:
    with suppress(ValueError):
        run = run.relative_to(Path.cwd())
    gaps = [f"{{{word.name}}}" for word in module.learned_tokens]
    if module.learned_tokens[-1].concept.kind == "style":
        thing = "a house" if len(gaps) == 1 else f"a {' and a '.join(gaps[:-1])}"
        prompt = f"{thing} in the style of {gaps[-1]}"
    else:
        prompt = f"a {' and a '.join(gaps)} on the beach"
    words = " and ".join(word.placeholder_token for word in module.learned_tokens)
    return f'learned {words} in {module.global_step} steps: {run}\ntry it:  tinv generate --embedding {run} "{prompt}"'


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
        ".*callbacks used to create the checkpoint.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*srun. command is available on your system but is not used.*",
    ):
        warnings.filterwarnings("ignore", message=advice)
