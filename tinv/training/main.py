"""The front door: `python train.py ...`, or `tinv-train ...` where tinv is installed.

Composes the settings, says everything that is wrong with them before a run folder exists or torch is imported, and
hands them to `tinv.training.run.train`: once, or once for each point of a sweep (`-m`).

Exit codes: 0 done; 1 the run could not start or failed; 2 the options (`--...`) are wrong; 130 interrupted.
"""

import os
import sys
import traceback
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tinv import sweeps as sweep
from tinv.config import startup as thrift
from tinv.config.compose import CONFIG_NAME, Groups
from tinv.config.override_errors import explain, find_problems, mode, points
from tinv.config.problems import Problem
from tinv.config.validate import CONF_DIR, check
from tinv.errors import UserError
from tinv.runs.record_status import record_status
from tinv.runs.resume import AUTO, choose_run_dir, find_checkpoint
from tinv.runs.slurm_job import current_job
from tinv.runs.slurm_signals import install_handlers
from tinv.runs.status import TIME_FORMAT
from tinv.sweeps.dry_run import check_sweep
from tinv.sweeps.plan_file import read_plan
from tinv.sweeps.slurm_preflight import job_conflicts
from tinv.sweeps.subprocess_run import needs_subprocess, run_in_subprocess


def main() -> None:
    """Run what the command line asks for, and leave with its exit code."""
    register()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra passes errors on instead of printing them its own way
    try:
        args = _arguments()
        if not _only_shows(args):
            _look_ahead(_taken_up(args))
        hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=CONFIG_NAME)(point)()
    except KeyboardInterrupt:
        _leave("interrupted", code=130)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into exit(1)
            _leave("interrupted", code=130)
        raise
    except Exception as error:
        if user := _users_own(error):
            _leave(str(user))
        if isinstance(error, HydraException | OmegaConfBaseException) and (found := _explain()):
            _leave(_sentence(found))
        traceback.print_exc()
        sys.exit(1)


def point(cfg: DictConfig) -> float | None:
    """One run, as Hydra calls it; gives the monitored number to a sweeper."""
    is_in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        return run_in_subprocess(cfg) if is_in_sweep and needs_subprocess(cfg) else _run(cfg)
    except UserError as error:
        if not is_in_sweep:
            _leave(str(error))
        raise
    except Exception:
        if is_in_sweep:
            traceback.print_exc()
        raise


def _run(cfg: DictConfig) -> float | None:
    if current_job():
        install_handlers()  # loading takes a while, and a signal may come at any time
    with thrift.imports():
        from tinv.training.run import train  # torch and Lightning: only when there is something to run

    exit_code = 1
    try:
        with record_status(HydraConfig.get().runtime.output_dir) as status:
            _stop_the_clock(status.first_started)
            OmegaConf.get_cache(cfg).pop("now", None)  # Hydra hands on what it has looked up
            status.value = train(check(cfg))
        exit_code = 0
    finally:
        _finish_wandb(exit_code)
    return status.value


def _stop_the_clock(began: str) -> None:
    """What `${now:...}` means stays what it was in the run's first session, wherever it is used."""
    then = datetime.strptime(began, TIME_FORMAT).replace(tzinfo=UTC).astimezone()
    OmegaConf.register_new_resolver("now", then.strftime, use_cache=True, replace=True)


def register() -> None:
    """Teach OmegaConf the resolvers that conf/config.yaml uses for folders, and Hydra our ways of sweeping."""
    OmegaConf.register_new_resolver("run_dir", choose_run_dir, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("sweep_dir", sweep.resolve_sweep_dir, use_cache=True, replace=True)
    sweep.register()
    thrift.remember()


def _look_ahead(args: Namespace) -> None:
    """Leave with every problem that can be seen before the run: nothing has been made or imported yet."""
    groups = Groups(args.config_dir)
    overrides = list(args.overrides)
    chosen = mode(groups, overrides)
    multirun = args.multirun or chosen == RunMode.MULTIRUN
    found = find_problems(groups, overrides, multirun=multirun)
    if found and all(problem.is_missing for problem in found) and not overrides:
        _leave(_invitation(groups, found))
    if found:
        _leave(_sentence(found))
    cfg = groups.compose(next(points(groups, overrides)))
    if cfg.resume not in (None, AUTO) and multirun:
        _leave(f"resume={cfg.resume} goes on with one run, -m starts several; leave one of them out")
    if cfg.hub.push and multirun:
        _leave("hub.push=true and -m: the points would overwrite each other; push the one you like: tinv push RUN")
    if cfg.resume not in (None, AUTO):
        find_checkpoint(Path(cfg.paths.root_dir) / cfg.name, cfg.resume)
    if not multirun and (found_in_job := job_conflicts(cfg.trainer)):
        _leave(_sentence([Problem(text) for text in found_in_job]))
    if cfg.sweep.dry_run and not multirun:
        _leave("sweep.dry_run=true lists the points of a sweep; add -m")
    if multirun and (listing := check_sweep(groups, overrides, cfg)):
        print(listing)
        sys.exit()
    HydraConfig.instance().cfg = None
    thrift.settle_mode(chosen)


def _taken_up(args: Namespace) -> Namespace:
    """The command line; one that only takes a sweep up again (`sweep.resume=DIR`) repeats that sweep's command."""
    parse = Groups().parse
    wanted = [parse(text).value() for text in args.overrides if text.startswith("sweep.resume=")]
    if not wanted or wanted[-1] is None:
        return args
    sys.argv[1:1] = [] if args.multirun else ["-m"]
    plan = read_plan(Path(str(wanted[-1])))
    if all(text.startswith("sweep.") for text in args.overrides):
        sys.argv[1:1] = [f"--config-dir={plan['config_dir']}"] if plan["config_dir"] and not args.config_dir else []
        sys.argv += plan["command"]
    return _arguments()


def _explain() -> list[Problem]:
    """What is wrong with the overrides of a command that only shows something, such as `--cfg job`."""
    args = _arguments()
    return explain(Groups(args.config_dir), args.overrides)


def _arguments() -> Namespace:
    """The command line, with options before, after or between the overrides (Hydra itself minds the order)."""
    args = get_args_parser().parse_intermixed_args()
    sys.argv[1:] = [*(word for word in sys.argv[1:] if word not in args.overrides), *args.overrides]
    return args


def _only_shows(args: Namespace) -> bool:
    shows = (args.help, args.hydra_help, args.cfg, args.info, args.shell_completion, args.experimental_rerun)
    return any(shows) or args.config_path is not None or args.config_name is not None


def _sentence(found: list[Problem]) -> str:
    return "\n  ".join(["this run cannot start:", *(problem.text for problem in found)])


def _invitation(groups: Groups, found: list[Problem]) -> str:
    """What to type, for somebody who typed nothing."""
    names = groups.options("experiment")
    first = "cat_toy" if "cat_toy" in names else next(iter(names), "NAME")
    shipped = groups.options("data")
    others = [name for name in names if name != first and f"toybox_{name}" in shipped]
    settings = ", ".join(problem.text.partition(":")[0] for problem in found)
    command = _command()
    return f"""Nothing to learn yet. Take one of the toys that come with tinv:

  {command} +experiment={first}{f"        (or {', '.join(others)})" if others else ""}

or a folder with a few pictures of your own:

  {command} name=mug concept.placeholder_token=my-mug concept.initializer_token=mug data.folder=path/to/pictures

Not set: {settings}. For everything there is to choose: {command} --help"""


def _command() -> str:
    program = os.path.basename(sys.argv[0])
    return f"python {program}" if program.endswith(".py") else program


def _finish_wandb(exit_code: int) -> None:
    """Close this point's W&B run, if it has one, or the next point would log into it."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=exit_code)


def _leave(message: str, code: int = 1) -> NoReturn:
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)
    sys.exit(code)


def _users_own(error: BaseException | None) -> UserError | None:
    """The user's error behind a library's, if there is one. An error of ours while handling one is not meant."""
    while error is not None and not isinstance(error, UserError):
        wraps = isinstance(error, OmegaConfBaseException)  # without saying what: a resolver's error is its context
        error = error.__cause__ or (error.__context__ if wraps else None)
    return error


if __name__ == "__main__":
    main()
