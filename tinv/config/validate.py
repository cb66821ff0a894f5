"""The one place where settings become objects: check a composed tree, then build from it."""

import functools
import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from tinv.config import secrets as secret
from tinv.config.problems import Problem, did_you_mean, unfit, unknown, walk
from tinv.config.signatures import Signature, signature
from tinv.config.target_allowlist import disallowed_targets
from tinv.errors import UserError

_HERE = Path(__file__).resolve().parent.parent
CONF_DIR = _HERE / "conf" if (_HERE / "conf").is_dir() else _HERE.parent / "conf"
"""The groups: inside an installed wheel, or beside the package in a checkout."""

_GOOD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*")


class ConfigError(UserError):
    """The settings cannot be run; the message lists everything that is wrong with them."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n  ".join(["this run cannot start:", *self.problems]))


@dataclass
class Paths:
    """Where things go."""

    root_dir: str
    """Runs go to `<root_dir>/<name>/<time>`."""
    output_dir: str
    """This run's own folder."""
    cache_dir: str | None = "auto"
    """Keeps encoded pictures for the next run."""
    cache_max_gb: float = 2.0
    """How large that may become."""


@dataclass
class Sweep:
    """What `-m` does with its runs."""

    on_failure: Literal["continue", "stop"] = "continue"
    """Whether the other points are run after one has failed."""
    dry_run: bool = False
    """Lists the points and what they differ in."""
    resume: str | None = None
    """The folder of a sweep: what is not done there is run."""


@dataclass(kw_only=True)
class Root:
    """What may stand at the top of the tree. The groups are plain YAML; their targets' signatures are the schema."""

    name: str = "untitled"
    """The run's folder is `outputs/<name>/<time>`."""
    seed: int = 0
    """The same seed gives the same run."""
    tags: list[str] = field(default_factory=list)
    """Free words for finding runs again."""
    scale_lr: bool = False
    """Whether the learning rate is multiplied by the effective batch."""
    merge_batches: bool = True
    """Whether accumulated micro-batches are computed side by side where memory allows."""
    monitor: str | None = "val/loss"
    """The number that a run returns, and that sweeps compare."""
    resume: str | int | None = None
    """`latest`, a step, or the path of a run folder or a checkpoint."""
    sweep: dict[str, Any] = field(default_factory=dict)
    """What `-m` does with its runs."""
    model: dict[str, Any]
    """What is frozen."""
    concept: dict[str, Any]
    """What is learned."""
    data: dict[str, Any]
    """What is shown."""
    embedding: dict[str, Any]
    """How the word is represented, and where it starts."""
    extra_concepts: dict[str, Any] = field(default_factory=dict)
    """What else is learned in the same run, by names of your own."""
    loss: dict[str, Any]
    """What is minimised."""
    timestep_sampler: dict[str, Any]
    """How often training shows each timestep."""
    regularizer: dict[str, Any]
    """What is minimised besides."""
    optimizer: dict[str, Any]
    """Made for the learned rows alone."""
    scheduler: dict[str, Any]
    """Of the learning rate."""
    trainer: dict[str, Any]
    """Lightning's Trainer: where and for how long."""
    callbacks: dict[str, Any]
    """What else happens on the way."""
    early_stopping: dict[str, Any]
    """What ends the run before its last step."""
    keep: dict[str, Any]
    """The embedding of which step is the result."""
    logger: dict[str, Any]
    """Where the numbers go."""
    hub: dict[str, Any]
    """Whether and where the word is published."""
    paths: dict[str, Any]
    """`root_dir`, and `output_dir`: this run's own folder."""
    module: dict[str, Any]
    """Joins the groups."""


def check(cfg: DictConfig) -> DictConfig:
    """A copy of the composed settings, resolved and read-only. Builds nothing and imports nothing heavy.

    Raises:
        ConfigError: naming every problem, not only the first.
    """
    if problems := find_problems(cfg):
        raise ConfigError(problem.text for problem in problems)
    cfg = deepcopy(cfg)
    OmegaConf.set_struct(cfg, False)
    for group in ("callbacks", "logger"):
        for name in _idle(cfg, group):
            del cfg[group][name]
    OmegaConf.resolve(cfg)
    if leaks := _leaks(OmegaConf.to_container(cfg)):
        raise ConfigError(problem.text for problem in leaks)
    OmegaConf.set_readonly(cfg, True)
    return cfg


def find_problems(cfg: DictConfig) -> list[Problem]:
    """Everything that is wrong with a composed tree: unknown, missing and unfit values, and unknown targets."""
    if leaks := _leaks(OmegaConf.to_container(cfg, resolve=False)):
        return leaks  # what else there is to say could quote them
    root = signature(f"{__name__}.{Root.__name__}")
    found = [*_strangers(cfg, root), *unfit(cfg, root, ""), *walk(cfg, ""), *_bad_name(cfg)]
    return list(dict.fromkeys(found))


def build(node: DictConfig | dict[str, Any], **late: Any) -> Any:
    """The object that a `_target_` node describes, with the nodes inside it.

    Args:
        node: a group of the checked settings.
        late: arguments that are known only now; they reach the target as they are, and win over the node's own.

    Raises:
        ConfigError: a target is none that settings may call.
        UserError: whatever the target had to say.
    """
    if problems := [f"{path or 'this node'}: {reason}" for path, reason in disallowed_targets(node)]:
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


def _leaks(tree: Any) -> list[Problem]:
    return [Problem(f"{path}: {secret.REMEDY}") for path in secret.places(tree)]


def _strangers(cfg: DictConfig, root: Signature) -> Iterator[Problem]:
    """What does not belong at the top of the tree or among the callbacks, and what is missing there."""
    for key in map(str, cfg):
        if key not in root.parameters:
            where = (
                "; say which, and where: +extra_concept@extra_concepts.NAME=object" if key == "extra_concept" else ""
            )
            yield Problem(f"{key}: there is no such group or setting{where or did_you_mean(key, root.parameters)}")
    for key in root.parameters:
        if key not in cfg:
            hint = f"; write {key}=none" if key in ("callbacks", "logger", "early_stopping") else ""
            yield Problem(f"{key}: cannot be left out{hint}")
    for name, shape in (("paths", Paths), ("sweep", Sweep)):
        if isinstance(node := cfg.get(name), DictConfig):
            yield from unknown(node, signature(f"{__name__}.{shape.__name__}"), name)
            yield from unfit(node, signature(f"{__name__}.{shape.__name__}"), name)
    for name, node in _nodes(cfg, "extra_concepts").items():
        yield from _misfits(node, f"extra_concepts.{name}")
    for group in ("callbacks", "logger"):
        nodes = _nodes(cfg, group)
        known = [name for name, node in nodes.items() if _has_target(node)]
        for name in nodes.keys() - known - _idle(cfg, group):
            remedy = did_you_mean(name, known) if nodes[name] is not None else f"; write ~{group}.{name} to remove it"
            yield Problem(f"{group}.{name}: has no _target_{remedy}")


def _misfits(node: Any, path: str) -> Iterator[Problem]:
    """What is wrong with one of the other concepts of a run, in so far as its parts do not tell."""
    lesson = signature("tinv.training.concept_task.ConceptTask")
    remedy = f"; begin with +another@{path}=object"
    if not isinstance(node, DictConfig):
        yield Problem(f"{path}: must be a concept with its pictures, got {node!r}{remedy}")
        return
    yield from unknown(node, lesson, path)
    yield from unfit(node, lesson, path)
    for key, parameter in lesson.parameters.items():
        if parameter.required and key not in node:
            yield Problem(f"{path}.{key}: cannot be left out{remedy}")


def _idle(cfg: DictConfig, group: str) -> set[str]:
    """Entries that a file tunes although the choice left them out, such as the samples in `callbacks=none`."""
    shipped = {path.stem for path in (CONF_DIR / group).glob("*.yaml")}
    return {name for name, node in _nodes(cfg, group).items() if name in shipped and node and not _has_target(node)}


def _nodes(cfg: DictConfig, group: str) -> dict[str, Any]:
    node = cfg.get(group)
    return {str(key): node.get(key) for key in node} if isinstance(node, DictConfig) else {}


def _has_target(node: Any) -> bool:
    return isinstance(node, DictConfig) and "_target_" in node


def _bad_name(cfg: DictConfig) -> Iterator[Problem]:
    name = None if OmegaConf.is_missing(cfg, "name") or OmegaConf.is_interpolation(cfg, "name") else cfg.get("name")
    if isinstance(name, str) and not _GOOD_NAME.fullmatch(name):
        better = re.sub(r"[^A-Za-z0-9._=-]+", "_", name).strip("._") or "untitled"
        yield Problem(
            f"name: becomes a folder, so it takes letters, digits and . _ = - only, got {name!r}; write {better}"
        )
