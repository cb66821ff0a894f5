"""`tinv prefetch`: downloads the files that a run needs from the Hub."""

import argparse
import shlex
from typing import Any


def add(commands: Any) -> None:
    """Adds the parser of the command."""
    command = commands.add_parser(
        "prefetch",
        help="download a run's model and images from the Hugging Face Hub",
        description="Download all files that a run needs into the cache of the Hugging Face Hub, so that it needs no "
        "network. Accepts the overrides of train.py. Skips files that are in the cache.",
        epilog="example: tinv prefetch +experiment=cat_toy_sd15 model.variant=fp16",
    )
    command.set_defaults(command=run)
    command.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="as for train.py: model=sdxl, +experiment=..."
    )
    command.add_argument("--config-dir", help="a folder with your own groups, as for train.py")


def run(arguments: argparse.Namespace) -> None:
    """Downloads the files and prints their paths."""
    from tinv.config.compose import Groups
    from tinv.config.override_errors import find_problems
    from tinv.config.validate import ConfigError, check

    groups = Groups(arguments.config_dir)
    if problems := find_problems(groups, arguments.overrides):
        raise ConfigError(problems)
    cfg = check(groups.compose(arguments.overrides))

    from tinv.training.prefetch import prefetch

    downloads = prefetch(cfg)
    for entry in downloads:
        print(entry)
    print(
        f"to train without a network: python train.py {shlex.join(arguments.overrides)}"
        if downloads
        else "nothing to download: the model and the images are on this machine"
    )
