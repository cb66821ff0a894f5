"""`tinv evaluate`: measure how good learned words are."""

import argparse
from pathlib import Path
from typing import Any

from tinv.cli.generate import seeds


def add(commands: Any) -> None:
    """Describe the command and its options."""
    command = commands.add_parser(
        "evaluate",
        help="measure learned words: CLIP-I, CLIP-T, DINO, diversity, memorisation",
        description="Draw samples with fixed seeds and measure them. Numbers go to evaluation.json beside the run, the "
        "samples into evaluation/; what was measured with the same settings is not measured again. docs/evaluation.md "
        "says what the numbers mean.",
        epilog="example: tinv evaluate outputs/cat_toy/2026-11-22_20-00-00 --seeds 0-7",
    )
    command.set_defaults(command=run)
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a run, a sweep, or an embedding file")
    command.add_argument(
        "--prompt", action="append", metavar="TEXT", help="with {} for the word; again for another (default: eight)"
    )
    command.add_argument("--seeds", type=seeds, default=[0, 1, 2, 3], help="a picture a prompt for each (default 0-3)")
    command.add_argument(
        "--num-inference-steps", type=int, help="solver steps (default: as the run's samples, else 25)"
    )
    command.add_argument("--guidance-scale", type=float, help="strictness (default: as the run's samples, else 7.5)")
    command.add_argument("--negative-prompt", help="what to steer away from")
    command.add_argument("--sampler", choices=("dpm", "ddim"), help="DPM-Solver++ (default) or DDIM")
    command.add_argument(
        "--class-noun", help="the plain name of what it is one of (default: the word that it started from)"
    )
    command.add_argument("--images", type=Path, metavar="DIR", help="what it was learned from (default: the run's)")
    command.add_argument(
        "--feature-extractors", choices=("toybox", "clip", "dinov2"), help="default: those that go with the model"
    )
    command.add_argument("--clip", metavar="PLACE", help="another CLIP: a folder or a Hub id, also as ID@REVISION")
    command.add_argument("--dino", metavar="PLACE", help="another DINO or DINOv2 likewise, or none")
    command.add_argument("--model", help="another model than the one that the file names")
    command.add_argument("--config", help="for a model in a single file: a folder or Hub id with its configurations")
    command.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: the fastest there is)")
    command.add_argument("--batch-size", type=int, default=8, help="pictures drawn at once (default 8)")
    command.add_argument("--wandb", action="store_true", help="put the numbers into the summaries of the runs on W&B")


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print a table."""
    from tinv.cli.evaluate_wandb import log_evaluation
    from tinv.evaluation import EvaluationConfig, evaluate, find_targets
    from tinv.evaluation.table import print_result, print_summary

    config = EvaluationConfig(
        prompts=arguments.prompt,
        seeds=arguments.seeds,
        num_inference_steps=arguments.num_inference_steps,
        guidance_scale=arguments.guidance_scale,
        negative_prompt=arguments.negative_prompt,
        sampler=arguments.sampler,
        class_noun=arguments.class_noun,
        images=arguments.images,
        feature_extractors=arguments.feature_extractors,
        clip=arguments.clip,
        dino=arguments.dino,
        model=arguments.model,
        config=arguments.config,
        device=arguments.device,
        batch_size=arguments.batch_size,
    )
    by_path = find_targets(arguments.paths)
    targets = [target for of_path in by_path.values() for target in of_path]
    evaluations = evaluate(targets, config, on_result=print_result)
    print_summary(by_path, evaluations)
    if arguments.wandb:
        logged = [log_evaluation(target, result) for target, result in zip(targets, evaluations, strict=True)]
        print(f"W&B: updated the runs of {sum(logged)} of {len(logged)} embeddings")
