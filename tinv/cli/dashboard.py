"""`tinv dashboard`: creates a W&B workspace for the runs of a project."""

import argparse
from pathlib import Path
from typing import Any

SWEPT = ("embedding.num_vectors", "optimizer.lr", "embedding.init_noise", "seed")


def add(commands: Any) -> None:
    """Adds the parser of the command."""
    command = commands.add_parser(
        "dashboard",
        help="create a W&B workspace: loss, embedding statistics, samples, sweep plots",
        description="Create a workspace for runs of logger=wandb and save it on W&B; with --output send nothing.",
        epilog="example: tinv dashboard --entity my-team --swept embedding.num_vectors optimizer.lr",
    )
    command.set_defaults(command=run)
    command.add_argument("--project", default="tinv", help="project of the runs (default: tinv)")
    command.add_argument("--entity", default="", help="owner of the project (default: your account)")
    command.add_argument("--name", default="tinv", help="name of the workspace (default: tinv)")
    command.add_argument("--monitor", default="val/loss", metavar="METRIC", help="default: val/loss")
    command.add_argument(
        "--swept",
        nargs="+",
        default=list(SWEPT),
        metavar="SETTING",
        help=f"settings (default: {' '.join(SWEPT)})",
    )
    command.add_argument("--output", type=Path, metavar="FILE", help="write the workspace to a JSON file instead")


def run(arguments: argparse.Namespace) -> None:
    """Saves the workspace and prints its address."""
    from tinv.runs.files import write_json
    from tinv.training.loggers.wandb_workspace import build_workspace, save_workspace, workspace_json

    options = {name: getattr(arguments, name) for name in ("entity", "name", "monitor", "swept")}
    workspace = build_workspace(arguments.project, **options)
    if arguments.output is None:
        print(save_workspace(workspace))
    else:
        write_json(arguments.output, workspace_json(workspace))
        print(arguments.output)
