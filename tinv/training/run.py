"""A training run, from checked settings to a learned embedding."""

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

import tinv
from tinv.config.secrets import hide
from tinv.config.validate import build
from tinv.data.datamodule import MultiConceptDataModule
from tinv.data.latent_cache import LatentCache, cache_folder
from tinv.errors import UserError
from tinv.models import LatentDiffusion
from tinv.models.runtime import set_compile_cache
from tinv.models.vae import encoding_identity
from tinv.runs.environment import read_hydra_choices
from tinv.runs.layout import list_checkpoints
from tinv.runs.resume import AUTO, find_checkpoint
from tinv.sweeps import model_cache
from tinv.training.callbacks import KeepBest
from tinv.training.callbacks.timing import time_phase
from tinv.training.concept_task import ConceptTask
from tinv.training.initializer_search import resolve_initializer
from tinv.training.loggers.base import logging_run
from tinv.training.module import TextualInversion
from tinv.training.preflight import preflight

_FORMAT_WARNING = warnings.formatwarning


def train(cfg: DictConfig) -> float | None:
    """Learns the concepts that the settings describe.

    Args:
        cfg: composed and checked settings.

    Returns:
        The last value of the metric `monitor`, or None if it is null.

    Raises:
        UserError: a setting, a file or the machine does not allow the run.
    """
    _configure_warnings()
    loggers: list[Logger] = [build(node) for node in cfg.logger.values()]
    settings = settings_to_log(cfg)
    with logging_run(loggers, settings):
        torch.manual_seed(cfg.seed)
        callbacks = [build(node) for node in (cfg.early_stopping, cfg.keep, *cfg.callbacks.values()) if node]
        with time_phase(callbacks, "loading"):
            tasks = preflight(cfg)
            for logger in loggers:
                logger.log_hyperparams(settings)
            model = _load_model(cfg)
            module = _build_module(cfg, model, tasks)
        data = MultiConceptDataModule([task.data for task in tasks])
        trainer: Trainer = build(cfg.trainer, callbacks=callbacks, logger=loggers or False)
        with time_phase(callbacks, "encoding"):  # before training takes the device's memory
            _encode_images(cfg, model, data, trainer.strategy.root_device)
        if trainer.is_global_zero:
            for token, batch in zip(module.learned_tokens, module.effective_batches(trainer, data), strict=True):
                print(f"{f'{token.placeholder_token}: ' if token.name else ''}{batch}", flush=True)
        trainer.fit(module, data, ckpt_path=_checkpoint(cfg), weights_only=True)
        if trainer.is_global_zero:
            print(_summary(module, Path(cfg.paths.output_dir)))
        result = _monitored(cfg.monitor, trainer, module, data)
        model_cache.put(model)
        if cfg.hub.push and trainer.is_global_zero:
            print(f"uploaded: {build(cfg.hub).publish(Path(cfg.paths.output_dir))}")
        return result


def settings_to_log(cfg: DictConfig) -> dict[str, Any]:
    """Returns the settings for loggers, with the overrides and the chosen option of each group."""
    settings: Any = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "module"]))
    hydra = read_hydra_choices(Path(cfg.paths.output_dir)) or {}
    return {**settings, **{key: hydra[key] for key in ("overrides", "choices") if key in hydra}}


def _load_model(cfg: DictConfig) -> LatentDiffusion:
    if cfg.model.compile and (folder := cache_folder(cfg.paths.cache_dir)):
        set_compile_cache(folder / "compiled")
    model: LatentDiffusion = model_cache.get(OmegaConf.to_yaml(cfg.model), lambda: build(cfg.model))
    return model


def _build_module(cfg: DictConfig, model: LatentDiffusion, tasks: list[ConceptTask]) -> TextualInversion:
    """Returns the module; prints the initializer tokens that are chosen from images."""
    resolved = []
    for task in tasks:
        task, message = resolve_initializer(task, cfg.model.pretrained, model.tokenizers)
        resolved.append(task)
        if message:
            rank_zero_only(print)(message, flush=True)
    first, *extra = resolved
    built = {"model": model, "concept": first.concept, "embedding": first.embedding, "extra_concepts": extra}
    node = OmegaConf.masked_copy(cfg.module, [key for key in cfg.module if key not in built])
    module: TextualInversion = build(node, **built)
    return module


def _encode_images(cfg: DictConfig, model: LatentDiffusion, data: MultiConceptDataModule, device: torch.device) -> None:
    """Encodes the training images on a device, or reads their moments from the cache."""
    encode: Any = nullcontext(model.encode_images)
    if folder := cache_folder(cfg.paths.cache_dir):
        max_bytes = int(cfg.paths.cache_max_gb * 1e9)
        encode = LatentCache(
            model.encode_images, folder, encoder_id=encoding_identity(model.vae, device), max_bytes=max_bytes
        )
    with encode as encode_images, model.offloaded_vae.on(device):
        data.encode_images(encode_images, resolution=model.resolution)


def _checkpoint(cfg: DictConfig) -> Path | None:
    """Returns the checkpoint to resume from; warns about damaged ones that are passed over."""
    if cfg.resume is None or (cfg.resume == AUTO and not list_checkpoints(cfg.paths.output_dir)):
        return None

    def warn(problem: str) -> None:
        warnings.warn(f"passed over: {problem}", stacklevel=2)

    try:
        return find_checkpoint(cfg.paths.output_dir, "latest" if cfg.resume == AUTO else cfg.resume, on_damage=warn)
    except UserError:
        if cfg.resume != AUTO:
            raise
    warnings.warn("resume=auto: starts from step 0, because every checkpoint is damaged", stacklevel=2)
    return None


def _monitored(
    metric: str | None, trainer: Trainer, module: TextualInversion, data: MultiConceptDataModule
) -> float | None:
    if metric is None:
        return None
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        if isinstance(callback, KeepBest) and callback.monitor == metric and callback.value is not None:
            return callback.value
    if metric not in trainer.callback_metrics:  # the run was complete when it was resumed
        trainer.validate(module, data, verbose=False)
    if metric not in trainer.callback_metrics:
        logged = ", ".join(sorted(trainer.callback_metrics)) or "none"
        raise UserError(f"monitor={metric}: this run did not log it. Set monitor to one of {logged}, or to null.")
    return float(trainer.callback_metrics[metric])


def _summary(module: TextualInversion, run_dir: Path) -> str:
    """Returns what was learned, where it is, and a command that draws it."""
    with suppress(ValueError):
        run_dir = run_dir.relative_to(Path.cwd())
    gaps = [f"{{{token.name}}}" for token in module.learned_tokens]
    if module.learned_tokens[-1].concept.kind == "style":
        subject = "a house" if len(gaps) == 1 else f"a {' and a '.join(gaps[:-1])}"
        prompt = f"{subject} in the style of {gaps[-1]}"
    else:
        prompt = f"a {' and a '.join(gaps)} on the beach"
    tokens = " and ".join(token.placeholder_token for token in module.learned_tokens)
    command = f'tinv generate --embedding {run_dir} "{prompt}"'
    return f"learned {tokens} in {module.global_step} steps: {run_dir}\ntry it:  {command}"


def format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Returns a warning as it is printed; tinv's own are for the user and come without their place in the source."""
    if category is UserWarning and Path(filename).is_relative_to(Path(tinv.__path__[0])):
        return f"warning: {hide(str(message))}\n"
    return hide(_FORMAT_WARNING(message, category, filename, lineno, line))


def _configure_warnings() -> None:
    """Hides Lightning's advice that does not apply.

    The loader resumes by itself, the model must be frozen, and all processes are at the same step.
    """
    warnings.formatwarning = format_warning
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for advice in (
        ".*does not have many workers.*",
        ".*module.* in eval mode at the start of training.*",
        ".*your dataloader is not resumable.*",
        ".*callbacks used to create the checkpoint.*",
        ".*is smaller than the logging interval.*",
        ".*recommended to use `self.log\\('step'.*sync_dist.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*srun. command is available on your system but is not used.*",
    ):
        warnings.filterwarnings("ignore", message=advice)
