"""`tinv push`: uploads the embedding of a finished run."""

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Adds the parser of the command."""
    command = commands.add_parser(
        "push",
        help="upload an embedding to the Hugging Face Hub",
        description="Upload the embedding of a run: its files, samples, training images and a model card; no logs, no "
        "checkpoints. Needs `hf auth login` or HF_TOKEN. Defaults are the run's settings in the group `hub`.",
        epilog="example: tinv push outputs/cat_toy/2026-11-22_18-00-00 --repo-id alice/cat-toy",
    )
    command.set_defaults(command=run)
    command.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    command.add_argument("--repo-id", help="OWNER/NAME, or NAME in your account (default: the run's name)")
    command.add_argument("--private", action=argparse.BooleanOptionalAction, help="private repository (default)")
    command.add_argument("--license", help="the Hub's name of the license (default: that of the base model, if known)")
    command.add_argument("--concept-images", action=argparse.BooleanOptionalAction, help="include the training images")
    command.add_argument("--message", help="commit message")


def run(arguments: argparse.Namespace) -> None:
    """Uploads and prints the address."""
    from tinv.publish import Publisher

    names = ("repo_id", "private", "license", "concept_images", "message")
    options = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    print(Publisher.of_run(arguments.run, push=True, **options).publish(arguments.run))
