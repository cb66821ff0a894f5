"""What a sweep would do, and what would be wrong with it: looked at before anything is made."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tinv.config import validate as config
from tinv.config.compose import CompositionError, Groups
from tinv.config.override_errors import points
from tinv.config.problems import unfit, unknown
from tinv.config.signatures import signature
from tinv.config.validate import ConfigError
from tinv.runs.reader import RunReader
from tinv.runs.trial import load_optuna
from tinv.sweeps import NAMES
from tinv.sweeps import plan_file as kept
from tinv.sweeps.points import SweepPoint, combinations, differences, settings
from tinv.sweeps.results import GOOD
from tinv.sweeps.results_table import ResultRow, format_table
from tinv.sweeps.search_space import SearchSpace, space


def check_sweep(groups: Groups, overrides: Sequence[str], cfg: DictConfig) -> str | None:
    """What a dry run has to say; None if this is to be no dry run.

    Args:
        groups: to choose from.
        overrides: the command.
        cfg: the settings of the sweep's first point.

    Raises:
        UserError: the sweep cannot be run, or is not the one that it is to take up again.
    """
    hydra = groups.join(next(points(groups, overrides))).hydra
    if problems := [*_unfit(hydra.launcher, "hydra.launcher"), *_unfit(hydra.sweeper, "hydra.sweeper")]:
        raise ConfigError(problems)
    sweeper = hydra.sweeper
    if sweeper._target_.endswith(".OptunaSweeper"):
        searched = space(groups, overrides, load_optuna())
        return _search(searched, sweeper.n_trials) if cfg.sweep.dry_run else None
    planned = combinations(groups, overrides)
    return _grid(groups, planned, cfg) if cfg.sweep.dry_run else None


def _unfit(node: DictConfig, path: str) -> list[str]:
    """What does not fit a sweeper or launcher of ours: Hydra builds them without looking."""
    plugin = NAMES.get(node._target_)
    taken = signature(f"{plugin.__module__}.{plugin.__name__}") if plugin else None
    return [problem.text for problem in (*unknown(node, taken, path), *unfit(node, taken, path))] if taken else []


def _search(searched: SearchSpace, n_trials: int) -> str:
    rows = [f"  {name} from {text}" for name, text in searched.texts.items()]
    return "\n".join([f"a dry run, nothing is started: {n_trials} points are to choose", *rows])


def _grid(groups: Groups, planned: Sequence[SweepPoint], cfg: DictConfig) -> str:
    """The points, whether each is still to be run, and what it has otherwise beyond what was swept."""
    everything = _checked(groups, planned)
    folder = Path(cfg.paths.root_dir) / cfg.name / "<time>"
    if cfg.sweep.resume is not None:
        folder = Path(cfg.sweep.resume)
        before = kept.read_plan(folder)
        planned = kept.numbered_as(before, planned)
        kept.refuse_changes(before, everything)
    rows = [ResultRow(p.number, p.swept, _stand(folder, p), folder=str(folder / str(p.number))) for p in planned]
    left = sum(row.status == "waiting" for row in rows)
    head = f"a dry run, nothing is started: {left} of {len(planned)} points to run"
    return "\n".join([head, format_table(rows, None), *_beyond(planned, everything)])


def _checked(groups: Groups, points: Sequence[SweepPoint]) -> dict[str, dict[str, Any]]:
    """Every setting of every point, by the points' keys."""
    problems: list[str] = []
    everything = {}
    for point in points:
        try:
            everything[point.key] = settings(groups, point)
            found = config.find_problems(groups.compose(point.overrides))
            problems += [f"{point.label}: {problem.text}" for problem in found]
        except CompositionError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(problems)
    return everything


def _stand(folder: Path, point: SweepPoint) -> str:
    status = RunReader(folder / str(point.number)).status
    return status.status if status is not None and status.status in GOOD else "waiting"


def _beyond(points: Sequence[SweepPoint], everything: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What choosing from a group changes besides the choice."""
    first, lines = everything[points[0].key], []
    for point in points:
        differs = differences(first, everything[point.key])
        if others := [f"{name}={value}" for name, value in differs.items() if name not in point.swept]:
            lines.append(f"{point.label} also has {', '.join(others)}")
    return lines
