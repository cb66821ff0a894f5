"""`tinv report`: writes an HTML report of a sweep or a run."""

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Adds the parser of the command."""
    command = commands.add_parser(
        "report",
        help="write an HTML report of a sweep or a run: table, curves, samples",
        description="Write one HTML file about a sweep or a run that needs no network and no server. The sweep may "
        "still be running. See docs/report.md.",
        epilog="example: tinv report outputs/cat_toy/2026-11-22_20-00-00",
    )
    command.set_defaults(command=run)
    command.add_argument("folder", type=Path, metavar="DIR", help="the folder of a sweep or of a run")
    command.add_argument("--output", type=Path, metavar="FILE", help="the file (default: DIR/report.html)")


def run(arguments: argparse.Namespace) -> None:
    """Writes the report and prints its path."""
    from tinv.report import write_report

    print(write_report(arguments.folder, arguments.output))
