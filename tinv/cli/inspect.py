"""`tinv inspect`: describes an embedding file."""

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Adds the parser of the command."""
    command = commands.add_parser(
        "inspect",
        help="describe an embedding file",
        description="Print the format of a file, its tokens and the norms of their vectors; or, if it is no embedding, "
        "what it is instead. Never runs code in the file.",
        epilog="example: tinv inspect cat-toy.pt --model pkg://tinv/toybox/pipeline",
    )
    command.set_defaults(command=run)
    command.add_argument("file", type=Path, metavar="FILE", help="an embedding file, or a folder with one")
    command.add_argument("--model", help="a folder or a Hub id: list its tokens nearest to the vectors")


def run(arguments: argparse.Namespace) -> None:
    """Prints the description."""
    from tinv.inference.inspect import describe_file

    print(describe_file(arguments.file, model=arguments.model))
