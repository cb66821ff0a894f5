"""`tinv dashboard`: a workspace of W&B for the runs of a project."""

import argparse
from pathlib import Path
from typing import Any

SWEPT = ("embedding.num_vectors", "optimizer.lr", "embedding.init_noise", "seed")


def add(commands: Any) -> None:
    """Describe the command and its options."""
    command = commands.add_parser(
        "dashboard",
        help="make a workspace of W&B: loss, samples, embedding statistics, sweep plots",
        description="Make a workspace for the runs that logger=wandb has made, with W&B's own library, and save it "
        "there; with --output nothing is sent.",
        epilog="example: tinv dashboard --entity my-team --swept embedding.num_vectors optimizer.lr",
    )
    command.set_defaults(command=run)
    command.add_argument("--project", default="tinv", help="whose runs are shown (default: tinv)")
    command.add_argument("--entity", default="", help="whose project (default: your account's own)")
    command.add_argument("--name", default="tinv", help="of the workspace (default: tinv)")
    command.add_argument("--monitor", default="val/loss", metavar="NUMBER", help="runs are compared by (val/loss)")
    command.add_argument(
        "--swept", nargs="+", default=list(SWEPT), metavar="SETTING", help=f"what differs (default: {' '.join(SWEPT)})"
    )
    command.add_argument("--output", type=Path, metavar="FILE", help="write what would be sent to a JSON file instead")


def run(arguments: argparse.Namespace) -> None:
    """Save it, and say where it is."""
    from tinv.runs.files import write_json
    from tinv.training.loggers.wandb_workspace import build_workspace, save_workspace, workspace_json

    given = {name: getattr(arguments, name) for name in ("entity", "name", "monitor", "swept")}
    workspace = build_workspace(arguments.project, **given)
    if arguments.output is None:
        print(save_workspace(workspace))
    else:
        write_json(arguments.output, workspace_json(workspace))
        print(arguments.output)
