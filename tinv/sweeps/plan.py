"""The plan of a sweep: its points and their settings, composed once per command."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from tinv.config import validate as config
from tinv.config.compose import CompositionError, Groups
from tinv.config.override_errors import explain
from tinv.config.validate import ConfigError
from tinv.runs.trial import load_optuna
from tinv.sweeps.points import SweepPoint, combinations, flatten, setting_of
from tinv.sweeps.search_space import SearchSpace, search_space


@dataclass(frozen=True)
class SweepPlan:
    """The points that a command sweeps, or the space that it searches."""

    command: tuple[str, ...]
    """The overrides that start this sweep again."""
    points: tuple[SweepPoint, ...]
    """Every point of a grid; one example point of a search."""
    settings: Mapping[str, Mapping[str, Any]]
    """The flat settings of each point, by its key."""
    space: SearchSpace | None = None
    """The space of a search; None for a grid."""
    n_trials: int | None = None
    """The number of trials of a search."""


def plan_sweep(
    groups: Groups,
    overrides: Sequence[str],
    *,
    n_trials: int | None,
    check_all: bool,
    find_conflicts: Callable[[DictConfig], list[str]] | None = None,
) -> SweepPlan:
    """Returns the plan of a command.

    Args:
        groups: the config groups.
        overrides: the overrides of the command.
        n_trials: the number of trials of a search; None for a grid.
        check_all: check the settings of every point; otherwise they are only composed.
        find_conflicts: returns what the launcher cannot do of a point's settings.

    Raises:
        UserError: the command cannot be swept or searched.
        ConfigError: names each point that cannot be composed, or whose settings are wrong.
    """
    space = search_space(groups, overrides, load_optuna()) if n_trials is not None else None
    points = [space.example] if space else combinations(groups, overrides)
    searched = {f"search of {name}": text for name, text in space.texts.items()} if space else {}
    problems: list[str] = []
    settings = {}
    for point in points:
        try:
            cfg = groups.compose(point.overrides)
        except CompositionError as error:
            reasons = [problem.text for problem in explain(groups, point.overrides)] or [str(error)]
            problems.append(f"{point.label}: {'; '.join(reasons)}")
            continue
        settings[point.key] = {**flatten(cfg), **searched}
        if find_conflicts:
            problems += [f"{point.label}: {problem}" for problem in find_conflicts(cfg)]
        if check_all:
            problems += [f"{point.label}: {problem.text}" for problem in config.find_problems(cfg)]
    if problems:
        raise ConfigError(problems)
    command = [text for text in overrides if setting_of(text) not in ("sweep.resume", "sweep.dry_run", "hydra.mode")]
    return SweepPlan(tuple(command), tuple(points), settings, space, n_trials)
