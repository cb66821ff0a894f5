"""`tinv submit`: put runs into Slurm's queue, and come back."""

import argparse
import sys
from typing import Any

LAUNCHER = "hydra/launcher"


def add(commands: Any) -> None:
    """Describe the command and its options."""
    command = commands.add_parser(
        "submit",
        help="put a run or a sweep into the queue of a Slurm cluster",
        description="Put a run, or one for each combination of several values, into Slurm's queue. Takes what train.py "
        "takes, prints the jobs and their folders, and does not wait: tinv status FOLDER says how they stand.",
        epilog="example: tinv submit +experiment=cat_toy seed=0,1,2 hydra.launcher.partition=gpu",
    )
    command.set_defaults(command=run)
    command.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="as for train.py: +experiment=..., seed=0,1,2"
    )
    command.add_argument("--config-dir", help="a folder with groups of your own, as for train.py")


def run(arguments: argparse.Namespace) -> None:
    """What train.py does with a sweep, on the launcher that does not wait."""
    from tinv.training.main import main

    is_chosen = any(text.partition("=")[0] == LAUNCHER for text in arguments.overrides)
    options = [f"--config-dir={arguments.config_dir}"] if arguments.config_dir else []
    launcher = [*([] if is_chosen else [f"{LAUNCHER}=slurm"]), "hydra.launcher.wait=false"]
    sys.argv[1:] = ["-m", *options, *arguments.overrides, *launcher]
    main()
