"""`tinv status`: how the runs in a folder stand."""

import argparse
import json
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Describe the command and its options."""
    command = commands.add_parser(
        "status",
        help="how the runs of a sweep stand",
        description="Say of every run of a sweep, or of one run, how it stands: step, rate, time left, restarts, loss. "
        "Reads nothing but the files in the folder, so it works wherever that is mounted.",
        epilog="example: tinv status outputs/cat_toy/2026-11-22_20-00-00",
    )
    command.set_defaults(command=run)
    command.add_argument("folder", type=Path, help="of a sweep or of a run")
    command.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace) -> None:
    """Print the table."""
    from tinv.sweeps.progress_table import format_progress, progress_records, read_progress

    found = read_progress(arguments.folder)
    print(json.dumps(progress_records(found), indent=2) if arguments.json else format_progress(found))
