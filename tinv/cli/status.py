"""`tinv status`: show the progress of the runs in a folder."""

import argparse
import json
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Adds the command and its options."""
    command = commands.add_parser(
        "status",
        help="show the progress of a sweep's runs",
        description="Show the status, step, rate, time left, restarts and loss of each run of a sweep, or of one run. "
        "Reads only the files in the folder, so it works on every machine that mounts it.",
        epilog="example: tinv status outputs/cat_toy/2026-11-22_20-00-00",
    )
    command.set_defaults(command=run)
    command.add_argument("folder", type=Path, help="the folder of a sweep or of a run")
    command.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> None:
    """Prints the table."""
    from tinv.sweeps.progress_table import format_progress, progress_records, read_progress

    runs = read_progress(arguments.folder)
    print(json.dumps(progress_records(runs), indent=2) if arguments.json else format_progress(runs))
