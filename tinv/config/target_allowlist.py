"""The allowlist of `_target_`: settings may come from someone else, and must not be able to call anything they like."""

import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from tinv.config.signatures import signature
from tinv.config.source_reader import base_names
from tinv.errors import did_you_mean
from tinv.optional_deps import install_hint


def _names(module: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{module}.{name}" for name in names)


_CALLBACKS = (
    *_names(
        "tinv.training.callbacks",
        *("AnswerRequests", "CheckLearning", "Checkpoints", "DVARStopping", "EarlyStopping", "EmbeddingStats"),
        *(
            "Evaluation",
            "Export",
            "KeepBest",
            "OptunaPruning",
            "Progress",
            "ProgressFile",
            "RunCard",
            "Samples",
            "SlurmRequeue",
        ),
        *("StopOnNonFinite", "StopOnSignal"),
    ),
    *_names(
        "lightning.pytorch.callbacks",
        *("DeviceStatsMonitor", "LearningRateMonitor", "ModelSummary", "RichModelSummary", "RichProgressBar"),
        *("TQDMProgressBar", "Timer"),
    ),
)

TARGETS: Mapping[str, tuple[str, ...]] = {
    "model": ("tinv.models.load",),
    "concept": ("tinv.concept.Concept", "tinv.toybox.toybench.make_concept"),
    "data": ("tinv.data.datamodule.ConceptDataModule",),
    "embedding": ("tinv.embeddings.EmbeddingConfig",),
    "loss": ("tinv.diffusion.loss.DiffusionLoss",),
    "timestep_sampler": _names(
        "tinv.diffusion.timestep_samplers",
        *("CosineTimesteps", "LogSNRTimesteps", "LogitNormalTimesteps", "ModeTimesteps", "RangeTimesteps"),
        *("UniformTimesteps",),
    ),
    "regularizer": _names("tinv.training.regularizers", "ContextRegularizer", "L2ToInitRegularizer", "NoRegularizer"),
    "optimizer": (
        *_names("tinv.optim", "RiemannianSGD", "adamw8bit"),
        *_names(
            "torch.optim",
            *("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop"),
            *("Rprop", "SGD"),
        ),
        "transformers.optimization.Adafactor",
        *_names("bitsandbytes.optim", "Adam8bit", "AdamW8bit", "Lion8bit", "PagedAdamW8bit"),
        "lion_pytorch.Lion",
        "prodigyopt.Prodigy",
        *_names("schedulefree", "AdamWScheduleFree", "RAdamScheduleFree", "SGDScheduleFree"),
    ),
    "scheduler": (
        "tinv.optim.text_schedule",
        *_names(
            "diffusers.optimization",
            *("get_constant_schedule", "get_constant_schedule_with_warmup", "get_cosine_schedule_with_warmup"),
            *("get_cosine_with_hard_restarts_schedule_with_warmup", "get_linear_schedule_with_warmup"),
            *("get_piecewise_constant_schedule", "get_polynomial_decay_schedule_with_warmup"),
        ),
        *_names(
            "transformers.optimization",
            *("get_cosine_with_min_lr_schedule_with_warmup", "get_inverse_sqrt_schedule", "get_wsd_schedule"),
        ),
        *_names(
            "torch.optim.lr_scheduler",
            *("ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "ExponentialLR"),
            *("LinearLR", "MultiStepLR", "OneCycleLR", "PolynomialLR", "StepLR"),
        ),
    ),
    "trainer": ("lightning.pytorch.Trainer",),
    "trainer.strategy": _names("lightning.pytorch.strategies", "DDPStrategy", "SingleDeviceStrategy"),
    "callbacks": _CALLBACKS,
    "early_stopping": _CALLBACKS,
    "keep": _CALLBACKS,
    "logger": (
        "tinv.training.loggers.csv_logger.CSVLogger",
        "tinv.training.loggers.tensorboard.TensorBoardLogger",
        "tinv.training.loggers.wandb.WandbLogger",
    ),
    "hub": ("tinv.publish.Publisher",),
    "module": ("tinv.training.module.TextualInversion",),
    "hydra.callbacks": (),
    "hydra.launcher": (
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        *_names("hydra_plugins.tinv", "GpuLauncher", "PackedLauncher", "SlurmLauncher"),
    ),
    "hydra.sweeper": (
        "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
        *_names("hydra_plugins.tinv", "GridSweeper", "OptunaSweeper"),
    ),
}
"""What settings may call, by the place of the `_target_`. A new option of conf/ adds its target here."""

BASES: Mapping[str, str] = {
    "data": "LightningDataModule",
    "optimizer": "Optimizer",
    "scheduler": "LRScheduler",
    "trainer": "Trainer",
    "trainer.strategy": "Strategy",
    "callbacks": "Callback",
    "early_stopping": "Callback",
    "keep": "Callback",
    "logger": "Logger",
    "module": "LightningModule",
    "hydra.callbacks": "Callback",
    "hydra.launcher": "Launcher",
    "hydra.sweeper": "Sweeper",
}
"""The base class of what a target builds; a function may return any class."""

FACTORIES = ("optimizer", "scheduler")
"""Groups that a run calls later, with what they need: they set `_partial_: true`."""

TARGETS_VARIABLE = "TINV_TARGETS"
"""Environment variable with further packages or targets, separated by commas; not a setting, which is not trusted."""

ENTRY_POINTS = "tinv.targets"
"""Entry points with which an installed package allows itself (`my_package`) or a target of it (`my_package:Watch`)."""


def additional_targets() -> list[str]:
    """Returns the packages and targets that the environment variable allows."""
    return [name for name in os.environ.get(TARGETS_VARIABLE, "").replace(" ", "").split(",") if name]


def group_of(path: str) -> str:
    """Returns the key of `TARGETS` for the path of a node: `extra_concepts.mug.data` is `data`, `callbacks.x` is
    `callbacks`, and a path inside an option is itself."""
    parts = path.split(".")
    if parts[0] == "extra_concepts" and len(parts) > 2:
        parts = parts[2:]
    elif parts[0] in ("module", "data") and len(parts) > 1:  # data.concept
        parts = parts[1:]
    is_named = parts[0] in ("callbacks", "logger") or parts[:2] == ["hydra", "callbacks"]
    return ".".join(parts[:-1] if is_named and len(parts) > 1 else parts)


def check_target(target: str, path: str | None = None) -> str:
    """Returns the reason why settings may not call a target, or an empty string if they may.

    Args:
        target: the dotted name.
        path: the path of its node; None allows what any place allows.
    """
    group = None if path is None else group_of(path)
    everything = tuple(name for names in TARGETS.values() for name in names)
    allowed = everything if group is None else TARGETS.get(group, ())
    is_listed = target in allowed
    is_plugin = target.startswith(("hydra_plugins.", "hydra._internal.core_plugins."))
    is_additional = not is_listed and _is_additional(target)
    if is_plugin and (is_listed or is_additional):  # Hydra finds it, and refuses what is no plugin
        return ""
    if not is_listed and not is_additional:
        role = f" as {group}" if group in TARGETS else ""
        return (
            f"{target} is not on the list of what settings may call{role}{did_you_mean(target, allowed)}; "
            f"to allow a package of yours, add it to the environment variable {TARGETS_VARIABLE}"
        )
    top = target.partition(".")[0]
    try:
        package = signature(target).package
    except (LookupError, SyntaxError) as error:
        hint = "" if find_spec(top) else install_hint(top)
        return f"cannot find {target} ({str(error) or type(error).__name__}){hint}"
    if package != top:
        return f"{target} is defined in {package}; use its name there"
    base = BASES.get(group or "")
    bases = base_names(target) if base and not is_listed else None
    return "" if bases is None or base in bases else f"{target} is not a {base}, which {group} needs"


def _is_additional(target: str) -> bool:
    allowed = (*additional_targets(), *_installed_targets())
    return any(target == name or target.startswith(f"{name}.") for name in allowed)


@cache
def _installed_targets() -> tuple[str, ...]:
    return tuple(entry.value.replace(":", ".").replace(" ", "") for entry in entry_points(group=ENTRY_POINTS))


def disallowed_targets(node: Any, path: str = "", *, anywhere: bool = False) -> Iterator[tuple[str, str]]:
    """Yields the path and the reason of each target in a node and below it that settings may not call.

    Args:
        node: a node; interpolations are resolved.
        path: its path in the settings.
        anywhere: whether to allow what any place allows.
    """
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig | ListConfig) else node
    if isinstance(plain, dict):
        if "_target_" in plain and (reason := check_target(str(plain["_target_"]), None if anywhere else path)):
            yield path, reason
        items: Any = plain.items()
    else:
        items = enumerate(plain) if isinstance(plain, list) else ()
    for key, value in items:
        yield from disallowed_targets(value, join_path(path, key), anywhere=anywhere)


def join_path(path: str, key: Any) -> str:
    """Returns the path of a key below another path: `trainer.max_steps`, `samples.seeds[0]`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)
