"""The arguments of `train.py`, and the answers that need no run."""

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from tinv.config import secrets
from tinv.config.compose import Groups
from tinv.config.problems import Problem
from tinv.sweeps.plan_file import read_command, read_plan


def parse_arguments() -> Namespace:
    """Parses the command line; options may stand before, after or between the overrides."""
    args, unknown = get_args_parser().parse_known_intermixed_args()
    if unknown:
        from tinv.from_diffusers.unknown_options import explain_options

        exit_with(explain_options(Groups(args.config_dir), unknown, sys.argv[1:]), code=2)
    for option in ("config_path", "config_name", "experimental_rerun"):
        if getattr(args, option) is not None:
            exit_with(
                f"--{option.replace('_', '-')}: not supported. "
                "Write your settings to mine/experiment/x.yaml, and use --config-dir mine +experiment=x.",
                code=2,
            )
    sys.argv[1:] = [*(word for word in sys.argv[1:] if word not in args.overrides), *args.overrides]
    return args


def restore_sweep_command(args: Namespace) -> Namespace:
    """Returns the arguments; for a command that only resumes a sweep (`sweep.resume=DIR`), those of that sweep."""
    parse = Groups().parse
    values = [parse(text).value() for text in args.overrides if text.startswith("sweep.resume=")]
    if not values or values[-1] is None:
        return args
    sys.argv[1:1] = [] if args.multirun else ["-m"]
    folder = Path(str(values[-1]))
    if all(text.startswith("sweep.") for text in args.overrides):
        sys.argv[1:1] = read_command(folder)
    else:
        read_plan(folder)
    return parse_arguments()


def is_query(args: Namespace) -> bool:
    """Whether Hydra itself answers the command, such as `--help` or `--cfg job`."""
    return any((args.help, args.hydra_help, args.cfg, args.info, args.shell_completion))


def introduction(groups: Groups, problems: list[Problem]) -> str:
    """Returns the message for a command without overrides."""
    experiments = groups.options("experiment")
    first = "cat_toy" if "cat_toy" in experiments else next(iter(experiments), "NAME")
    data = groups.options("data")
    others = [name for name in experiments if name != first and f"toybox_{name}" in data]
    keys = ", ".join(problem.text.partition(":")[0] for problem in problems)
    program = os.path.basename(sys.argv[0])
    command = f"python {program}" if program.endswith(".py") else program
    return f"""Nothing to learn yet. Choose one of the concepts that come with tinv:

  {command} +experiment={first}{f"        (or {', '.join(others)})" if others else ""}

or a folder with a few images of your own:

  {command} name=mug concept.placeholder_token=my-mug concept.initializer_token=mug data.folder=path/to/images

Not set: {keys}. All settings: {command} --help"""


def exit_with(message: str, code: int = 1) -> NoReturn:
    """Prints a message to stderr, without secrets, and exits."""
    sys.stdout.flush()
    print(secrets.hide(message), file=sys.stderr, flush=True)
    sys.exit(code)
