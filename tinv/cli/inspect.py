"""`tinv inspect`: what an embedding file is."""

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Describe the command and its options."""
    command = commands.add_parser(
        "inspect",
        help="say what an embedding file is",
        description="Say which format a file has, which words are in it, and how long their vectors are; or, of a file "
        "that is no embedding, what it is instead. Nothing in the file is ever run.",
        epilog="example: tinv inspect cat-toy.pt --model pkg://tinv/toybox/pipeline",
    )
    command.set_defaults(command=run)
    command.add_argument("file", type=Path, metavar="FILE", help="a file, a run's folder, or another folder with one")
    command.add_argument("--model", help="a folder or a Hub id: name its words nearest to the vectors")


def run(arguments: argparse.Namespace) -> None:
    """Print the report."""
    from tinv.inference.inspect import describe_file

    print(describe_file(arguments.file, model=arguments.model))
