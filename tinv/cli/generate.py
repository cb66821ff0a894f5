"""`tinv generate`: draw pictures with learned words."""

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Describe the command and its options."""
    command = commands.add_parser(
        "generate",
        help="draw pictures with learned words",
        description="Draw pictures with learned words, on the model they were learned on.",
        epilog='example: tinv generate --embedding outputs/cat_toy/2026-11-22_18-00-00 "a {} on the beach" --seeds 0-3',
    )
    command.set_defaults(command=run)
    command.add_argument(
        "prompts",
        nargs="+",
        metavar="PROMPT",
        help="{} is the learned word; of several, {} {} are in their order, {0} {1} by number, {cat-toy} by name",
    )
    command.add_argument(
        "--embedding",
        action="append",
        required=True,
        type=Path,
        metavar="RUN_OR_FILE",
        help="a run's folder (all of its words, by name) or an embedding file; give it again for another word",
    )
    command.add_argument("--seeds", type=seeds, default=[0], help="one picture each: 0-3 or 1,5,7 (default 0)")
    command.add_argument(
        "--num-inference-steps", type=int, help="solver steps (default: as the run's samples, else 25)"
    )
    command.add_argument("--guidance-scale", type=float, help="strictness (default: as the run's samples, else 7.5)")
    command.add_argument("--negative-prompt", help="what to steer away from")
    command.add_argument("--sampler", choices=("dpm", "ddim"), help="DPM-Solver++ (default) or DDIM")
    command.add_argument("--out", type=Path, default=Path("generated"), help="a folder, or a .png (default: generated)")
    command.add_argument("--grid", action="store_true", help="all pictures on one sheet, a row for each prompt")
    command.add_argument("--model", help="another model than the one that the file names: a folder, file or Hub id")
    command.add_argument("--config", help="for a model in a single file: a folder or Hub id with its configurations")
    command.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: the fastest there is)")


def run(arguments: argparse.Namespace) -> None:
    """Draw, and say where the pictures are."""
    from tinv.inference.generate import GenerationRequest, generate

    request = GenerationRequest(
        prompts=arguments.prompts,
        embeddings=arguments.embedding,
        seeds=arguments.seeds,
        num_inference_steps=arguments.num_inference_steps,
        guidance_scale=arguments.guidance_scale,
        negative_prompt=arguments.negative_prompt,
        sampler=arguments.sampler,
        model=arguments.model,
        config=arguments.config,
        device=arguments.device,
    )
    for path in generate(request, out=arguments.out, as_grid=arguments.grid):
        print(path)


def seeds(text: str) -> list[int]:
    """`0-3` -> [0, 1, 2, 3]; `1,5,7` -> [1, 5, 7]."""
    found: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            found += range(int(first), int(last if dash else first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of seeds; write 0-3 or 1,5,7") from None
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} holds no seed; write the smaller number first, as in 0-3")
    return found
