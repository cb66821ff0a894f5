"""The command `tinv`. Each subcommand has a thin module here."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

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
    queue,
    report,
    status,
    submit,
    tell,
    ui,
)
from tinv.config.secrets import REMEDY, find_reason, hide
from tinv.errors import UserError
from tinv.runs.signals import discard_closed_output

COMMANDS = (
    generate,
    evaluate,
    benchmark,
    preview,
    convert,
    inspect,
    submit,
    status,
    tell,
    queue,
    report,
    ui,
    dashboard,
    prefetch,
    push,
    from_diffusers,
)
"""Each module has `add(commands)`, which adds its parser."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 success, 1 failure, 2 wrong options, 130 interrupted,
    141 nobody reads the output.
    """
    try:
        try:
            return _run(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not discard_closed_output():
            raise
        return 141


def _run(argv: Sequence[str]) -> int:
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command is not from_diffusers.run:  # which leaves out tokens
            _refuse_secrets(argv)
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            arguments.command(arguments)
    except UserError as error:
        print(hide(str(error)), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="tinv", description="Generate with, evaluate and publish learned embeddings.")
    parser.add_argument("--version", action="version", version=f"tinv {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(hide(message))


def _refuse_secrets(arguments: Sequence[str]) -> None:
    """Checks that no argument contains a secret, because prompts and paths are written to files.

    Raises:
        UserError: an argument contains one.
    """
    for argument in arguments:
        if reason := find_reason(argument):
            name = hide(argument.partition("=")[0]) if argument.startswith("-") else "an argument"
            raise UserError(f"{name}: {reason}. {REMEDY}")


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Prints warnings of tinv in one line, and hides deprecation warnings of libraries."""
    if category is UserWarning:
        print(f"warning: {hide(str(message))}", file=sys.stderr)
