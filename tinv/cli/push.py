"""`tinv push`: upload the word of a run that has ended."""

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Describe the command and its options."""
    command = commands.add_parser(
        "push",
        help="upload a learned word to the Hugging Face Hub",
        description="Upload the word of a run: its files, samples, pictures and a model card; no logs, no checkpoints. "
        "The token comes from `hf auth login` or HF_TOKEN. What is not given here is as the run's group `hub` says.",
        epilog="example: tinv push outputs/cat_toy/2026-11-22_18-00-00 --repo-id alice/cat-toy",
    )
    command.set_defaults(command=run)
    command.add_argument("run", type=Path, metavar="RUN", help="the folder of a run that has ended")
    command.add_argument("--repo-id", help="OWNER/NAME, or NAME for a repository of your own (default: the run's name)")
    command.add_argument("--private", action=argparse.BooleanOptionalAction, help="whether only you see it (default)")
    command.add_argument("--license", help="of the word, as the Hub calls it (default: the base model's, if known)")
    command.add_argument("--concept-images", action=argparse.BooleanOptionalAction, help="show the training pictures")
    command.add_argument("--message", help="of the commit")


def run(arguments: argparse.Namespace) -> None:
    """Upload, and say where it is."""
    from tinv.publish import Publisher

    given = {name: getattr(arguments, name) for name in ("repo_id", "private", "license", "concept_images", "message")}
    changes = {name: value for name, value in given.items() if value is not None}
    print(Publisher.of_run(arguments.run, push=True, **changes).publish(arguments.run))
