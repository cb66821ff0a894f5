"""`tinv from-diffusers`: translates a command of diffusers' scripts."""

import argparse
import sys
from typing import Any

from tinv.errors import UserError

EXAMPLES = """\
examples:
  tinv from-diffusers accelerate launch textual_inversion.py --pretrained_model_name_or_path=... --train_data_dir=...
  tinv from-diffusers < train.sh

The command is printed to stdout, notes to stderr: `tinv from-diffusers ... | sh` runs the command.
"""


def add(commands: Any) -> None:
    """Adds the parser of the command, which leaves all following words, flags included, to the pasted command."""
    command = commands.add_parser(
        "from-diffusers",
        help="translate a command of diffusers' textual_inversion scripts",
        description="Print the command of tinv with the effect of a command of diffusers' textual_inversion.py, "
        "textual_inversion_sdxl.py or textual_inversion_flax.py.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="tinv from-diffusers [COMMAND ...]",
        prefix_chars="\0",
        add_help=False,
    )
    command.set_defaults(command=run, help=command.format_help)
    command.add_argument("words", nargs="*", metavar="COMMAND", help="the pasted command (default: read from stdin)")


def run(arguments: argparse.Namespace) -> None:
    """Prints the command, and notes on differences."""
    from tinv.config.compose import Groups
    from tinv.config.secrets import hide
    from tinv.from_diffusers import parse_command, read_command, translate

    words: list[str] = arguments.words
    if words in (["-h"], ["--help"]):
        print(arguments.help())
        return
    if not words and sys.stdin.isatty():
        raise UserError("no command given. Paste it after tinv from-diffusers, or pipe it in; see --help.")
    if len(words) < 2:
        words = read_command(words[0] if words else sys.stdin.read())
    translation = translate(parse_command(words), Groups())
    for note in translation.notes:
        print(f"note: {hide(note)}", file=sys.stderr)
    print(hide(str(translation)))
