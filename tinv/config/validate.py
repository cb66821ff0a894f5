"""Checks composed settings, and builds objects from them."""

import functools
import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tinv.config import secrets
from tinv.config.problems import Problem, argument_problems, node_problems, value_problems
from tinv.config.signatures import Signature, signature
from tinv.config.target_allowlist import disallowed_targets
from tinv.errors import UserError, did_you_mean

_HERE = Path(__file__).resolve().parent.parent
CONF_DIR = _HERE / "conf" if (_HERE / "conf").is_dir() else _HERE.parent / "conf"
"""The folder of the groups: in an installed wheel, or beside the package in a checkout."""

_VALID_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*")


class ConfigError(UserError):
    """Settings that cannot run; the message lists all problems."""

    def __init__(self, problems: Iterable[str | Problem]) -> None:
        self.problems = tuple(map(str, problems))
        super().__init__("\n  ".join(["this run cannot start:", *self.problems]))


@dataclass
class Paths:
    """Schema of `paths`."""

    root_dir: str
    """Runs are written to `<root_dir>/<name>/<time>`."""
    output_dir: str
    """The folder of this run."""
    cache_dir: str | None = "auto"
    """Keeps encoded images for the next run."""
    cache_max_gb: float = 2.0
    """Maximum size of the cache."""


@dataclass
class Sweep:
    """Schema of `sweep`: options of `-m`."""

    on_failure: Literal["continue", "stop"] = "continue"
    """Whether the remaining points run after one has failed."""
    dry_run: bool = False
    """Lists the points and their differences."""
    resume: str | None = None
    """The folder of a sweep: runs its remaining points."""


@dataclass(kw_only=True)
class Root:
    """Schema of the top of the tree. The groups are plain YAML; the signatures of their targets are their schema."""

    name: str = "untitled"
    """The run's folder is `outputs/<name>/<time>`."""
    seed: int = 0
    """The same seed gives the same run."""
    tags: list[str] = field(default_factory=list)
    """Free keywords for finding runs."""
    scale_lr: bool = False
    """Multiplies the learning rate by the effective batch size."""
    merge_batches: bool = True
    """Computes accumulated micro-batches together where memory allows."""
    monitor: str | None = "val/loss"
    """The metric that a run returns and sweeps compare."""
    resume: str | int | None = None
    """`latest`, a step, or the path of a run folder or a checkpoint."""
    resume_data: Literal["check", "accept"] = "check"
    """Whether a run may resume with other training data."""
    sweep: dict[str, Any] = field(default_factory=dict)
    """Options of `-m`."""
    model: dict[str, Any]
    """The frozen model."""
    concept: dict[str, Any]
    """The concept to learn."""
    data: dict[str, Any]
    """The training images."""
    embedding: dict[str, Any]
    """The form and the initial value of the embedding."""
    extra_concepts: dict[str, Any] = field(default_factory=dict)
    """Further concepts to learn in the same run, by names of your choice."""
    loss: dict[str, Any]
    """The training loss."""
    timestep_sampler: dict[str, Any]
    """The distribution of training timesteps."""
    regularizer: dict[str, Any]
    """A term added to the loss."""
    optimizer: dict[str, Any]
    """Optimizes the learned vectors only."""
    scheduler: dict[str, Any]
    """The learning rate schedule."""
    trainer: dict[str, Any]
    """Lightning's Trainer: devices and duration."""
    callbacks: dict[str, Any]
    """Samples, checkpoints, export and so on."""
    early_stopping: dict[str, Any]
    """Ends the run before its last step."""
    keep: dict[str, Any]
    """Which step's embedding is the result."""
    logger: dict[str, Any]
    """Where metrics are logged."""
    hub: dict[str, Any]
    """Upload to the Hugging Face Hub."""
    paths: dict[str, Any]
    """`root_dir`, `output_dir` and the cache."""
    module: dict[str, Any]
    """Connects the groups."""


def check(cfg: DictConfig) -> DictConfig:
    """Returns a resolved, read-only copy of composed settings. Builds nothing and imports nothing heavy.

    Raises:
        ConfigError: lists all problems.
    """
    if problems := find_problems(cfg):
        raise ConfigError(problems)
    return resolve(cfg)


def resolve(cfg: DictConfig) -> DictConfig:
    """Returns a resolved, read-only copy of settings that were checked before.

    Raises:
        ConfigError: a resolved value contains an access token.
    """
    cfg = deepcopy(cfg)
    OmegaConf.set_struct(cfg, False)
    for group in ("callbacks", "logger"):
        for name in _removed_entries(cfg, group):
            del cfg[group][name]
    OmegaConf.resolve(cfg)
    if leaks := secret_problems(cfg):
        raise ConfigError(leaks)
    OmegaConf.set_readonly(cfg, True)
    return cfg


def find_problems(cfg: DictConfig) -> list[Problem]:
    """Returns all problems of composed settings: unknown, missing and mistyped values, and disallowed targets."""
    if leaks := secret_problems(cfg):
        return leaks  # other messages could quote the token
    problems = [*_top_level_problems(cfg), *value_problems(cfg, _schema(Root), ""), *node_problems(cfg, "")]
    return list(dict.fromkeys([*problems, *_name_problems(cfg)]))


def secret_problems(cfg: DictConfig) -> list[Problem]:
    """Returns the settings, Hydra's included, that contain a secret, as they are or with interpolations resolved."""
    names = OmegaConf.select(cfg, "hydra.job.env_copy") or ()
    copies = {"hydra": {"job": {"env_copy": [f"${{oc.env:{name}}}" for name in names]}}}
    trees = OmegaConf.to_container(cfg, resolve=False), _resolved(cfg), copies
    return [Problem(text) for text in dict.fromkeys(text for tree in trees for text in secrets.find_secrets(tree))]


def build(node: DictConfig | dict[str, Any], **late: Any) -> Any:
    """Returns the object that a `_target_` node describes, with the nodes inside it.

    Args:
        node: a group of the checked settings.
        late: arguments known only at run time; they are passed unchanged and override the node's own.

    Raises:
        ConfigError: settings may not call a target.
        UserError: raised by the target.
    """
    if problems := [f"{path or 'this node'}: {reason}" for path, reason in disallowed_targets(node, anywhere=True)]:
        raise ConfigError(problems)
    try:
        target = hydra.utils.instantiate(node, _convert_="all", _partial_=True)
        return functools.partial(target, **late) if node.get("_partial_") else target(**late)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None


def _schema(cls: type) -> Signature:
    return signature(f"{__name__}.{cls.__name__}")


def _resolved(node: DictConfig | ListConfig) -> Any:
    """Returns a node as plain values, without nodes of other places and what cannot be resolved."""
    is_list = isinstance(node, ListConfig)
    values: dict[str, Any] = {}
    for key in range(len(node)) if is_list else list(node):
        try:
            value = node[key]
        except (OmegaConfBaseException, UserError):
            continue  # node_problems reports it
        if not isinstance(value, DictConfig | ListConfig):
            values[str(key)] = value
        elif not OmegaConf.is_interpolation(node, key) and value:
            values[str(key)] = _resolved(value)
    return list(values.values()) if is_list else values


def _top_level_problems(cfg: DictConfig) -> Iterator[Problem]:
    """Yields what is unknown or missing at the top of the tree and among callbacks, loggers and extra concepts."""
    parameters = _schema(Root).parameters
    for key in map(str, cfg):
        if key not in parameters:
            hint = "; write +extra_concept@extra_concepts.NAME=object" if key == "extra_concept" else ""
            yield Problem(f"{key}: there is no such group or setting{hint or did_you_mean(key, parameters)}")
    for key in parameters:
        if key not in cfg:
            hint = f"; write {key}=none" if key in ("callbacks", "logger", "early_stopping") else ""
            yield Problem(f"{key}: cannot be left out{hint}")
    for name, cls in (("paths", Paths), ("sweep", Sweep)):
        if isinstance(node := cfg.get(name), DictConfig):
            yield from argument_problems(node, _schema(cls), name)
    for name, node in _nodes(cfg, "extra_concepts").items():
        yield from _concept_problems(node, f"extra_concepts.{name}")
    for group in ("early_stopping", "keep"):
        if _nodes(cfg, group) and not _has_target(cfg[group]):
            yield Problem(f"{group}: has no _target_")
    for group in ("callbacks", "logger"):
        nodes = _nodes(cfg, group)
        complete = [name for name, node in nodes.items() if _has_target(node)]
        for name in nodes.keys() - complete - _removed_entries(cfg, group):
            hint = did_you_mean(name, complete) if nodes[name] is not None else f"; write ~{group}.{name} to remove it"
            yield Problem(f"{group}.{name}: has no _target_{hint}")


def _concept_problems(node: Any, path: str) -> Iterator[Problem]:
    """Yields the problems of an extra concept that the check of its parts does not find."""
    task = signature("tinv.training.concept_task.ConceptTask")
    remedy = f"; start with +extra_concept@{path}=object"
    if not isinstance(node, DictConfig):
        yield Problem(f"{path}={node!r}: must be a concept with its images{remedy}")
        return
    yield from argument_problems(node, task, path)
    for key, parameter in task.parameters.items():
        if parameter.required and key not in node:
            yield Problem(f"{path}.{key}: cannot be left out{remedy}")


def _removed_entries(cfg: DictConfig, group: str) -> set[str]:
    """Returns entries that a file configures but the chosen option removes, such as the samples of `callbacks=none`."""
    shipped = {path.stem for path in (CONF_DIR / group).glob("*.yaml")}
    return {name for name, node in _nodes(cfg, group).items() if name in shipped and node and not _has_target(node)}


def _nodes(cfg: DictConfig, group: str) -> dict[str, Any]:
    try:
        node = cfg.get(group)
        return {str(key): node.get(key) for key in node} if isinstance(node, DictConfig) else {}
    except (OmegaConfBaseException, UserError):
        return {}  # reported by node_problems


def _has_target(node: Any) -> bool:
    return isinstance(node, DictConfig) and "_target_" in node


def _name_problems(cfg: DictConfig) -> Iterator[Problem]:
    try:
        name = None if OmegaConf.is_missing(cfg, "name") else cfg.get("name")
    except (OmegaConfBaseException, UserError):
        return  # reported by node_problems
    if isinstance(name, str) and not _VALID_NAME.fullmatch(name):
        valid = re.sub(r"[^A-Za-z0-9._=-]+", "_", name).strip("._") or "untitled"
        yield Problem(f"name={name}: must be a folder name of letters, digits and . _ = - only; write {valid}")
