"""Entry point of `python train.py ...`, and of `tinv-train ...` where tinv is installed.

Composes and checks the settings before torch is imported or a run folder exists, then calls `tinv.training.run.train`:
once, or once for each point of a sweep (`-m`).

Exit codes: 0 success; 1 wrong settings or a failed run; 2 wrong options (`--...`); 130 Ctrl-C; 141 nobody reads the
output; 143 SIGTERM.
"""

import io
import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hydra
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobRuntime, configure_log, run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tinv import sweeps
from tinv.config import restricted_settings, secrets, startup
from tinv.config.compose import CONFIG_NAME, CompositionError, Groups
from tinv.config.override_errors import explain, find_mode, find_problems
from tinv.config.validate import CONF_DIR, ConfigError, check, resolve
from tinv.errors import RunDiscarded, RunInterrupted, UserError
from tinv.runs.environment import is_first_process
from tinv.runs.files import write_error
from tinv.runs.folder_lock import lock_run
from tinv.runs.parent_process import children_end_with_this_process, end_with_parent
from tinv.runs.record_status import record_status
from tinv.runs.resume import choose_run_dir
from tinv.runs.signals import handle_signals
from tinv.runs.slurm_job import current_job, install_handlers
from tinv.runs.status import TIME_FORMAT
from tinv.sweeps.dry_run import list_points
from tinv.sweeps.launchers import choose_sweep_dir
from tinv.sweeps.plan import SweepPlan
from tinv.sweeps.subprocess_run import needs_subprocess, run_in_subprocess
from tinv.sweeps.sweep_run import PlannedSweeper
from tinv.training.check_command import check_command
from tinv.training.command_line import (
    exit_with,
    introduction,
    is_query,
    parse_arguments,
    restore_sweep_command,
)
from tinv.training.interruption import describe_resume, find_interruption


def main() -> None:
    """Runs the command line and exits with its exit code."""
    end_with_parent()
    with handle_signals():
        _main()


def _main() -> None:
    args = None
    try:
        try:
            register()
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises errors instead of printing them
            args = parse_arguments()
            if is_query(args):
                _call_hydra(args)
            else:
                _run_command(restore_sweep_command(args))
        finally:
            sys.stdout.flush()
    except BaseException as error:
        if interruption := find_interruption(error):
            if not is_first_process():
                sys.exit(0)  # Lightning kills the first process if another one fails
            advice = interruption.advice
            if isinstance(error, BrokenPipeError):  # outside of a run: nothing to say, as in other commands
                sys.exit(interruption.code)
            exit_with(f"{interruption}{f'; {advice}' if advice else ''}", code=interruption.exit_code)
        if not isinstance(error, Exception):
            raise
        if user_error := _find_user_error(error):
            exit_with(str(user_error))
        is_config_error = isinstance(error, HydraException | OmegaConfBaseException)
        is_unchecked = args is not None and is_query(args)
        if args and is_unchecked and is_config_error and (problems := explain(Groups(args.config_dir), args.overrides)):
            exit_with(str(ConfigError(problems)))
        _print_traceback()
        sys.exit(1)


def register() -> None:
    """Registers tinv's sweepers and launchers with Hydra."""
    version.setbase("1.3")
    JobRuntime.instance().set("name", "tinv")
    sweeps.register()
    startup.share_config_sources()


def run_point(cfg: DictConfig) -> float | None:
    """Runs a point of a sweep; Hydra's launchers call it. Returns the monitored metric to the sweeper."""
    try:
        if needs_subprocess(cfg):
            return run_in_subprocess(cfg)
        with lock_run(Path(HydraConfig.get().runtime.output_dir)), suppress(RunDiscarded):
            return _run(cfg, check)
        return None
    except Exception as error:
        if not isinstance(error, UserError):
            _print_traceback()
        raise


def _run_checked(cfg: DictConfig) -> float | None:
    """Runs settings that were checked before; a user's error exits here, without Hydra's message about it."""
    try:
        return _run(cfg, resolve)
    except UserError as error:
        exit_with(str(error))
    except RunInterrupted as interruption:
        if not isinstance(interruption, RunDiscarded):
            interruption.advice = describe_resume(Path(HydraConfig.get().runtime.output_dir))
        raise


def _run(cfg: DictConfig, finalize: Callable[[DictConfig], DictConfig]) -> float | None:
    """Trains, and records the run's status.

    Args:
        cfg: the composed settings.
        finalize: `check`, or `resolve` for settings that were checked before.
    """
    if current_job():
        install_handlers()  # a signal may arrive while the model loads
    exit_code, output_dir = 1, Path(HydraConfig.get().runtime.output_dir)
    try:
        with record_status(output_dir) as status, children_end_with_this_process():
            try:
                with startup.imports():
                    from tinv.training.run import train  # imports torch and Lightning

                freeze_time(status.first_started)
                OmegaConf.get_cache(cfg).pop("now", None)  # Hydra copies resolved values
                status.value = train(finalize(cfg))
            except BaseException as error:
                if (interruption := find_interruption(error)) not in (None, error):
                    raise interruption from error
                raise
        exit_code = 0
    except RunDiscarded as discarded:
        exit_code = discarded.exit_code
        raise
    finally:
        _finish_wandb(exit_code)
    return status.value


def freeze_time(started: str) -> None:
    """Makes `${now:...}` the time at which the run's first session started, also after a resume."""
    then = datetime.strptime(started, TIME_FORMAT).replace(tzinfo=UTC).astimezone()
    OmegaConf.register_new_resolver("now", then.strftime, use_cache=True, replace=True)


def _run_command(args: Namespace) -> None:
    """Checks the command, exits with all problems or the list of a dry run, or else runs it."""
    groups, overrides = Groups(args.config_dir), list(args.overrides)
    is_sweep = args.multirun or find_mode(groups, overrides) == RunMode.MULTIRUN
    problems = find_problems(groups, overrides, multirun=is_sweep)
    if problems and not overrides and all(problem.is_missing for problem in problems):
        exit_with(introduction(groups, problems))
    if problems:
        raise ConfigError(problems)
    cfg, plan = check_command(groups, overrides, is_sweep=is_sweep)
    if plan and cfg.sweep.dry_run:
        print(list_points(plan, cfg))
        return
    HydraConfig.instance().cfg = None
    if plan:
        _run_sweep(groups, overrides, plan)
    else:
        _run_once(groups, overrides)


def _run_once(groups: Groups, overrides: list[str]) -> None:
    """Does what Hydra does for a single run, with the settings that were composed for the check."""
    cfg = groups.load(overrides)
    cfg.hydra.mode = RunMode.RUN
    if cfg.hydra.run.dir == restricted_settings.AUTO:
        cfg.hydra.run.dir = choose_run_dir(cfg.paths.root_dir, cfg.name, cfg.resume)
    configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose)
    context = HydraContext(config_loader=groups.loader, callbacks=Callbacks(cfg))
    context.callbacks.on_run_start(config=cfg, config_name=CONFIG_NAME)
    HydraConfig.instance().set_config(cfg)  # for interpolations of ${hydra:...}
    run_dir = Path(cfg.hydra.run.dir)
    with lock_run(run_dir):
        try:
            result = run_job(_run_checked, cfg, "hydra.run.dir", None, context)
        except OSError as error:  # of Hydra; those of the run are in the result
            raise write_error(run_dir, error) from error
    context.callbacks.on_run_end(config=cfg, config_name=CONFIG_NAME, job_return=result)
    _ = result.return_value  # raises the run's exception


def _run_sweep(groups: Groups, overrides: list[str], plan: SweepPlan) -> None:
    """Does what Hydra does for a sweep, and gives the plan to a sweeper of tinv."""
    cfg = groups.load([*overrides, "hydra.mode=MULTIRUN"], multirun=True)
    configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose)
    context = HydraContext(config_loader=groups.loader, callbacks=Callbacks(cfg))
    context.callbacks.on_multirun_start(config=cfg, config_name=CONFIG_NAME)
    sweeper = Plugins.instance().instantiate_sweeper(config=cfg, hydra_context=context, task_function=run_point)
    choose_sweep_dir(cfg)
    if isinstance(sweeper, PlannedSweeper):
        sweeper.plan = plan
    arguments: Any = OmegaConf.to_container(cfg.hydra.overrides.task, resolve=False)
    sweeper.sweep(arguments)
    context.callbacks.on_multirun_end(config=cfg, config_name=CONFIG_NAME)


def _call_hydra(args: Namespace) -> None:
    """Lets Hydra answer a query, with secrets hidden. Hydra configures logging, so what it composes is checked.

    Raises:
        ConfigError: an override contains a secret, or a file sets what only the user may set.
    """
    if leaks := [problem for text in args.overrides if (problem := secrets.override_problem(text))]:
        raise ConfigError(leaks)
    with suppress(CompositionError):  # Hydra raises it too
        Groups(args.config_dir).load(args.overrides, multirun=args.multirun)
    answer = io.StringIO()
    try:
        with redirect_stdout(answer):
            hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=CONFIG_NAME)(run_point)()
    finally:
        print(secrets.hide(answer.getvalue()), end="")


def _finish_wandb(exit_code: int) -> None:
    """Closes the W&B run, if there is one: otherwise the next point of a sweep logs to it."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=exit_code)


def _print_traceback() -> None:
    print(secrets.hide(traceback.format_exc()), end="", file=sys.stderr)


def _find_user_error(error: BaseException | None) -> UserError | None:
    """Returns the UserError that caused a library's error, if there is one."""
    while error is not None and not isinstance(error, UserError):
        is_resolver_error = isinstance(error, OmegaConfBaseException)  # OmegaConf raises it without `from`
        error = error.__cause__ or (error.__context__ if is_resolver_error else None)
    return error


if __name__ == "__main__":
    main()
