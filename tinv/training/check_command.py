"""Checks a command of `train.py` before it runs: all of its settings, and its files where it is queued."""

import os
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from tinv.config.compose import Groups
from tinv.config.override_errors import find_mode, find_problems, sweep_points
from tinv.config.problems import Problem
from tinv.config.validate import ConfigError, check
from tinv.errors import UserError
from tinv.runs.resume import AUTO, find_checkpoint
from tinv.sweeps.dry_run import check_sweep
from tinv.sweeps.job_queue import Job
from tinv.sweeps.plan import SweepPlan
from tinv.sweeps.slurm_preflight import job_conflicts


def check_command(groups: Groups, overrides: Sequence[str], *, is_sweep: bool) -> tuple[DictConfig, SweepPlan | None]:
    """Returns the settings of a command whose overrides are checked, those of its first point, and a sweep's plan.

    Raises:
        UserError: settings contradict each other, or there is nothing to resume.
    """
    cfg = groups.compose(next(sweep_points(groups, overrides)))
    is_resume = cfg.resume not in (None, AUTO)
    if is_sweep and is_resume:
        raise UserError(f"resume={cfg.resume}: continues one run, but -m starts several. Remove one of them.")
    if is_sweep and cfg.hub.push:
        raise UserError("hub.push=true: the points of -m would overwrite each other. Push one run: tinv push RUN")
    if not is_sweep and cfg.sweep.dry_run:
        raise UserError("sweep.dry_run=true: lists the points of a sweep. Add -m.")
    if not is_sweep and (conflicts := job_conflicts(cfg.trainer)):
        raise ConfigError(map(Problem, conflicts))
    if is_resume:
        find_checkpoint(Path(cfg.paths.root_dir) / cfg.name, cfg.resume)
    return cfg, check_sweep(groups, overrides, cfg) if is_sweep else None


def check_job(overrides: Sequence[str], *, config_dir: str | None = None, multirun: bool = False) -> Job:
    """Returns a job for the queue, after every check of its command that needs no model weights.

    Composes every point of a sweep, and checks the images and captions of the first one.

    Raises:
        UserError: names every problem.
    """
    from tinv.training.preflight import preflight  # imports torch

    groups = Groups(config_dir)
    is_sweep = multirun or find_mode(groups, overrides) == RunMode.MULTIRUN
    if reserved := [text for text in overrides if text.startswith(("hydra.run.dir=", "hydra.sweep.dir=", "sweep.re"))]:
        raise UserError(f"{reserved[0]}: the queue chooses the folder of a job. Remove it.")
    if problems := find_problems(groups, overrides, multirun=is_sweep):
        raise ConfigError(problems)
    cfg, _ = check_command(groups, overrides, is_sweep=is_sweep)
    if cfg.sweep.dry_run:
        raise UserError("sweep.dry_run=true: starts nothing. Remove it to queue the sweep.")
    name, root_dir, resume = cfg.name, cfg.paths.root_dir, cfg.resume
    preflight(check(cfg))
    HydraConfig.instance().cfg = None
    return Job(
        id="",
        overrides=list(overrides),
        config_dir=config_dir and os.path.abspath(config_dir),
        is_sweep=is_sweep,
        name=name,
        root_dir=str(root_dir),
        cwd=os.getcwd(),
        resume=None if resume is None else str(resume),
    )
