"""`tinv convert`: converts an embedding file for another program."""

import argparse
from pathlib import Path
from typing import Any

from tinv.formats import EXPORT_FORMATS


def add(commands: Any) -> None:
    """Adds the parser of the command."""
    command = commands.add_parser(
        "convert",
        help="convert an embedding file for another program",
        description="Convert an embedding file of any program. docs/embedding-formats.md lists the formats.",
        epilog="example: tinv convert outputs/cat_toy/2026-11-22_18-00-00 cat-toy.pt --to a1111",
    )
    command.set_defaults(command=run)
    command.add_argument("source", type=Path, metavar="IN", help="an embedding file, or a folder with one")
    command.add_argument("out", type=Path, metavar="OUT", help="a file, or a folder for files with default names")
    command.add_argument(
        "--to", required=True, choices=EXPORT_FORMATS, metavar="FORMAT", help=", ".join(EXPORT_FORMATS)
    )
    command.add_argument("--token", metavar="TOKEN", help="the placeholder token (default: from the file or its name)")
    command.add_argument("--model", help="for a pipeline: a folder or a Hub id (default: from the file)")
    command.add_argument("--part", help="of an extended embedding: stage.0 ..., or mean; docs/extended-embeddings.md")


def run(arguments: argparse.Namespace) -> None:
    """Converts and prints the paths of the files."""
    from tinv.inference.convert import convert

    options = {"token": arguments.token, "model": arguments.model, "part": arguments.part}
    for path in convert(arguments.source, arguments.out, arguments.to, **options):
        print(path)
