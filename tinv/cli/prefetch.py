"""`tinv prefetch`: fetch what a run will need of the Hub."""

import argparse
import shlex
from typing import Any


def add(commands: Any) -> None:
    """Describe the command and its options."""
    command = commands.add_parser(
        "prefetch",
        help="fetch a run's model and pictures from the Hugging Face Hub",
        description="Fetch what a run will open of the Hugging Face Hub into its cache, so that the run needs no "
        "network. Takes what train.py takes. A second time it fetches what is missing, if anything is.",
        epilog="example: tinv prefetch +experiment=cat_toy_sd15 model.variant=fp16",
    )
    command.set_defaults(command=run)
    command.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="as for train.py: model=sdxl, +experiment=..."
    )
    command.add_argument("--config-dir", help="a folder with groups of your own, as for train.py")


def run(arguments: argparse.Namespace) -> None:
    """Fetch, and say what is where."""
    from tinv.config.compose import Groups
    from tinv.config.override_errors import find_problems
    from tinv.config.validate import ConfigError, check

    groups = Groups(arguments.config_dir)
    if problems := find_problems(groups, arguments.overrides):
        raise ConfigError(problems)
    cfg = check(groups.compose(arguments.overrides))

    from tinv.training.prefetch import prefetch

    found = prefetch(cfg)
    for entry in found:
        print(entry)
    print(
        f"now without a network: python train.py {shlex.join(arguments.overrides)}"
        if found
        else "nothing to fetch: the model and the pictures are on this machine"
    )
