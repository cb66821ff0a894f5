"""`tinv submit`: submit runs to Slurm without waiting for them."""

import argparse
import sys
from typing import Any

LAUNCHER = "hydra/launcher"


def add(commands: Any) -> None:
    """Adds the command and its options."""
    command = commands.add_parser(
        "submit",
        help="submit a run or a sweep to a Slurm cluster",
        description="Submit a run, or a run for each combination of several values, to Slurm. Takes the arguments of "
        "train.py, prints the jobs and their folders, and does not wait. tinv status FOLDER shows their progress.",
        epilog="example: tinv submit +experiment=cat_toy seed=0,1,2 hydra.launcher.partition=gpu",
    )
    command.set_defaults(command=run)
    command.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="as for train.py: +experiment=..., seed=0,1,2"
    )
    command.add_argument("--config-dir", help="a folder with your own config groups, as for train.py")


def run(arguments: argparse.Namespace) -> None:
    """Runs train.py as a sweep, with a launcher that does not wait."""
    from tinv.training.main import main

    is_chosen = any(text.partition("=")[0] == LAUNCHER for text in arguments.overrides)
    options = [f"--config-dir={arguments.config_dir}"] if arguments.config_dir else []
    launcher = [*([] if is_chosen else [f"{LAUNCHER}=slurm"]), "hydra.launcher.wait=false"]
    sys.argv[1:] = ["-m", *options, *arguments.overrides, *launcher]
    main()
