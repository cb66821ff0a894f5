"""The check of a sweep before anything is written, and the listing that `sweep.dry_run=true` prints."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from tinv.config.compose import Groups
from tinv.config.override_errors import sweep_points
from tinv.config.problems import argument_problems
from tinv.config.signatures import signature
from tinv.config.validate import ConfigError
from tinv.runs.reader import RunReader
from tinv.sweeps import plugins
from tinv.sweeps.optuna_sweeper import OptunaSweeper
from tinv.sweeps.plan import SweepPlan, plan_sweep
from tinv.sweeps.plan_file import check_unchanged, read_plan, renumber
from tinv.sweeps.points import SweepPoint, differences
from tinv.sweeps.results import COMPLETED
from tinv.sweeps.results_table import ResultRow, format_table


def check_sweep(groups: Groups, overrides: Sequence[str], cfg: DictConfig) -> SweepPlan:
    """Returns the plan of a sweep; for a dry run, checks the settings of every point.

    Args:
        groups: the config groups.
        overrides: the overrides of the command.
        cfg: the settings of the sweep's first point.

    Raises:
        UserError: the sweep cannot be run.
    """
    hydra = groups.join(next(sweep_points(groups, overrides))).hydra
    if problems := [
        *plugin_problems(hydra.launcher, "hydra.launcher"),
        *plugin_problems(hydra.sweeper, "hydra.sweeper"),
    ]:
        raise ConfigError(problems)
    is_search = plugins().get(hydra.sweeper._target_) is OptunaSweeper
    n_trials = hydra.sweeper.n_trials if is_search else None
    return plan_sweep(
        groups,
        overrides,
        n_trials=n_trials,
        check_all=cfg.sweep.dry_run and not is_search,
        find_conflicts=getattr(plugins().get(hydra.launcher._target_), "find_conflicts", None),
    )


def plugin_problems(node: DictConfig, path: str) -> list[str]:
    """Returns what is wrong with the settings of a sweeper or launcher of tinv; Hydra does not check them."""
    plugin = plugins().get(node._target_)
    if plugin is None:
        return []
    accepted = signature(f"{plugin.__module__}.{plugin.__name__}")
    return [problem.text for problem in argument_problems(node, accepted, path)]


def list_points(plan: SweepPlan, cfg: DictConfig) -> str:
    """Returns what `sweep.dry_run=true` prints: the searched settings, or the points of a grid.

    A point has its status, and the settings that a swept group changes besides its choice.

    Raises:
        UserError: the sweep differs from the one that it should resume.
    """
    if plan.space:
        lines = [f"  {name} from {text}" for name, text in plan.space.texts.items()]
        return "\n".join([f"dry run, nothing is started: {plan.n_trials} points will be chosen", *lines])
    folder = Path(cfg.paths.root_dir) / cfg.name / "<time>"
    points = list(plan.points)
    if cfg.sweep.resume is not None:
        folder = Path(cfg.sweep.resume)
        previous = read_plan(folder)
        points = renumber(previous, points)
        check_unchanged(previous, plan.settings)
    rows = [ResultRow(p.number, p.swept, _status(folder, p), folder=str(folder / str(p.number))) for p in points]
    num_waiting = sum(row.status == "waiting" for row in rows)
    lines = [f"dry run, nothing is started: {num_waiting} of {len(points)} points to run", format_table(rows, None)]
    for point in points:
        changes = differences(plan.settings[points[0].key], plan.settings[point.key])
        if implied := [f"{name}={value}" for name, value in changes.items() if name not in point.swept]:
            lines.append(f"{point.label} also has {', '.join(implied)}")
    return "\n".join(lines)


def _status(folder: Path, point: SweepPoint) -> str:
    status = RunReader(folder / str(point.number)).status
    return status.status if status is not None and status.status in COMPLETED else "waiting"
