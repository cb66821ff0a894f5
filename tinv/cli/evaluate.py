"""`tinv evaluate`: measures the quality of learned embeddings."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from tinv.cli.generate import seeds


def add(commands: Any) -> None:
    """Adds the parser of the command."""
    command = commands.add_parser(
        "evaluate",
        help="evaluate embeddings: CLIP-I, CLIP-T, DINO, diversity, memorization",
        description="Draw samples with fixed seeds and evaluate them. Writes metrics to evaluation.json in the run's "
        "folder and samples to evaluation/; skips what was evaluated with the same settings. docs/evaluation.md "
        "explains the metrics.",
        epilog="example: tinv evaluate outputs/cat_toy/2026-11-22_20-00-00 --seeds 0-7",
    )
    command.set_defaults(command=run)
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a run, a sweep, or an embedding file")
    command.add_argument(
        "--prompt",
        dest="prompts",
        action="append",
        metavar="TEXT",
        help="with {} for the token; repeatable (default: eight prompts)",
    )
    command.add_argument(
        "--seeds", type=seeds, default=[0, 1, 2, 3], help="of each prompt: 0-3 or 1,5,7 (default: 0-3)"
    )
    command.add_argument(
        "--num-inference-steps", type=int, help="sampler steps (default: those of the run's samples, or 25)"
    )
    command.add_argument("--guidance-scale", type=float, help="default: that of the run's samples, or 7.5")
    command.add_argument("--negative-prompt", help="negative prompt")
    command.add_argument("--sampler", choices=("dpm", "ddim"), help="DPM-Solver++ (default) or DDIM")
    command.add_argument("--class-noun", help="noun for the class of the concept (default: the initializer token)")
    command.add_argument("--images", type=Path, metavar="DIR", help="training images (default: those of the run)")
    command.add_argument(
        "--feature-extractors", choices=("toybox", "clip", "dinov2"), help="default: those of the model"
    )
    command.add_argument("--clip", metavar="MODEL", help="another CLIP: a folder or a Hub id, also ID@REVISION")
    command.add_argument("--dino", metavar="MODEL", help="another DINO or DINOv2, or none")
    command.add_argument("--model", help="another model than the one in the file")
    command.add_argument("--config", help="for a single-file model: a folder or Hub id with its config files")
    command.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: the fastest available)")
    command.add_argument("--batch-size", type=int, default=8, help="samples drawn at once (default: 8)")
    command.add_argument("--wandb", action="store_true", help="add the metrics to the runs' summaries on W&B")


def run(arguments: argparse.Namespace) -> None:
    """Evaluates and prints a table."""
    from tinv.cli.evaluate_wandb import log_evaluation
    from tinv.evaluation import EvaluationConfig, evaluate, find_targets
    from tinv.evaluation.table import print_result, print_summary

    config = EvaluationConfig(**{field.name: getattr(arguments, field.name) for field in fields(EvaluationConfig)})
    by_path = find_targets(arguments.paths)
    targets = [target for of_path in by_path.values() for target in of_path]
    evaluations = evaluate(targets, config, on_result=print_result)
    print_summary(by_path, evaluations)
    if arguments.wandb:
        logged = [log_evaluation(target, result) for target, result in zip(targets, evaluations, strict=True)]
        print(f"W&B: updated the runs of {sum(logged)} of {len(logged)} embeddings")
