"""`tinv convert`: an embedding file for another program."""

import argparse
from pathlib import Path
from typing import Any

from tinv.formats import EXPORT_FORMATS


def add(commands: Any) -> None:
    """Describe the command and its options."""
    command = commands.add_parser(
        "convert",
        help="turn an embedding file into one for another program",
        description="Read an embedding of any program, whatever its file is called, and write it for another one. "
        "docs/embedding-formats.md says which program reads which format.",
        epilog="example: tinv convert outputs/cat_toy/2026-11-22_18-00-00 cat-toy.pt --to a1111",
    )
    command.set_defaults(command=run)
    command.add_argument("source", type=Path, metavar="IN", help="a file, a run's folder, or another folder with one")
    command.add_argument("out", type=Path, metavar="OUT", help="a file, or a folder for files under their usual names")
    command.add_argument(
        "--to", required=True, choices=EXPORT_FORMATS, metavar="FORMAT", help=", ".join(EXPORT_FORMATS)
    )
    command.add_argument("--token", metavar="WORD", help="the word's name (default: what the file or its name says)")
    command.add_argument("--model", help="for a pipeline: a folder or a Hub id (default: the one that the file names)")
    command.add_argument(
        "--part", help="of a word that has parts: stage.0 and so on, or mean; docs/extended-embeddings.md"
    )


def run(arguments: argparse.Namespace) -> None:
    """Convert, and say where the files are."""
    from tinv.inference.convert import convert

    options = {"token": arguments.token, "model": arguments.model, "part": arguments.part}
    for path in convert(arguments.source, arguments.out, arguments.to, **options):
        print(path)
