"""The command `tinv`. Each subcommand has a thin module here."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from tinv import __version__
from tinv.cli import (
    benchmark,
    convert,
    dashboard,
    evaluate,
    from_diffusers,
    generate,
    inspect,
    prefetch,
    preview,
    push,
    report,
    status,
    submit,
)
from tinv.errors import UserError

COMMANDS = (
    generate,
    evaluate,
    benchmark,
    preview,
    convert,
    inspect,
    submit,
    status,
    report,
    dashboard,
    prefetch,
    push,
    from_diffusers,
)
"""Each module has `add(commands)`, which adds its parser."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 success, 1 failure, 2 wrong options, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            arguments.command(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tinv", description="Generate with, evaluate and publish learned embeddings.")
    parser.add_argument("--version", action="version", version=f"tinv {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Prints warnings of tinv in one line, and hides deprecation warnings of libraries."""
    if category is UserWarning:
        print(f"warning: {message}", file=sys.stderr)
