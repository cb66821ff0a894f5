"""`tinv generate`: generates images with learned embeddings."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Adds the parser of the command."""
    command = commands.add_parser(
        "generate",
        help="generate images with learned embeddings",
        description="Generate images with learned embeddings and the model that they were trained with.",
        epilog='example: tinv generate --embedding outputs/cat_toy/2026-11-22_18-00-00 "a {} on the beach" --seeds 0-3',
    )
    command.set_defaults(command=run)
    command.add_argument(
        "prompts",
        nargs="+",
        metavar="PROMPT",
        help="{} is the placeholder token; of several, {} {} in order, {0} {1} by number, {cat-toy} by name",
    )
    command.add_argument(
        "--embedding",
        dest="embeddings",
        action="append",
        required=True,
        type=Path,
        metavar="RUN_OR_FILE",
        help="a run's folder (all of its concepts) or an embedding file; repeatable",
    )
    command.add_argument("--seeds", type=seeds, default=[0], help="one image for each: 0-3 or 1,5,7 (default: 0)")
    command.add_argument(
        "--num-inference-steps", type=int, help="sampler steps (default: those of the run's samples, or 25)"
    )
    command.add_argument("--guidance-scale", type=float, help="default: that of the run's samples, or 7.5")
    command.add_argument("--negative-prompt", help="negative prompt")
    command.add_argument("--sampler", choices=("dpm", "ddim"), help="DPM-Solver++ (default) or DDIM")
    command.add_argument("--out", type=Path, default=Path("generated"), help="a folder, or a .png (default: generated)")
    command.add_argument("--grid", action="store_true", help="one image with a row for each prompt")
    command.add_argument("--model", help="another model than the one in the file: a folder, file or Hub id")
    command.add_argument("--config", help="for a single-file model: a folder or Hub id with its config files")
    command.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: the fastest available)")


def run(arguments: argparse.Namespace) -> None:
    """Generates images and prints their paths."""
    from tinv.inference.generate import GenerationRequest, generate

    request = GenerationRequest(**{field.name: getattr(arguments, field.name) for field in fields(GenerationRequest)})
    for path in generate(request, out=arguments.out, as_grid=arguments.grid):
        print(path)


def seeds(text: str) -> list[int]:
    """`0-3` -> [0, 1, 2, 3]; `1,5,7` -> [1, 5, 7]."""
    numbers: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            numbers += range(int(first), int(last if dash else first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of seeds; write 0-3 or 1,5,7") from None
    if not numbers:
        raise argparse.ArgumentTypeError(f"{text!r} contains no seed; write the smaller number first, as in 0-3")
    return numbers
