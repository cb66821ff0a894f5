"""`tinv report`: look at a sweep or a run."""

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Describe the command and its options."""
    command = commands.add_parser(
        "report",
        help="make a page of a sweep or a run: table, curves, pictures side by side",
        description="Write one HTML file with all there is to see of a sweep or a run, which needs neither a network "
        "nor a server. The sweep may still be running; docs/report.md says what is on the page.",
        epilog="example: tinv report outputs/cat_toy/2026-11-22_20-00-00",
    )
    command.set_defaults(command=run)
    command.add_argument("folder", type=Path, metavar="DIR", help="the folder of a sweep or of a run")
    command.add_argument("--output", type=Path, metavar="FILE", help="the page (default: DIR/report.html)")


def run(arguments: argparse.Namespace) -> None:
    """Write the page, and say where it is."""
    from tinv.report import write_report

    print(write_report(arguments.folder, arguments.output))
