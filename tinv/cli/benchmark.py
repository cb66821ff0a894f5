"""`tinv benchmark`: protocols over many subjects."""

import argparse
import shlex
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tinv.cli.generate import seeds

WINGS = ("tinv.toybox.toybench.command",)
"""Benchmarks of wings of the house that may be left out; each has `add(benchmarks)`."""


def add(commands: Any) -> None:
    """Describe the command and its options."""
    group = commands.add_parser("benchmark", help="run a benchmark: learn, draw and measure many subjects")
    names = group.add_subparsers(title="benchmarks", required=True, metavar="NAME")
    _add_dreambench(names)
    for place in WINGS:
        if find_spec(place.rpartition(".")[0]):
            import_module(place).add(names)


def _add_dreambench(names: Any) -> None:
    command = names.add_parser(
        "dreambench",
        help="30 subjects x 25 prompts x 4 samples",
        description="Learn a word for each subject of DreamBench, as a sweep, and measure them by its protocol. The "
        "same command goes on with what is not done. docs/evaluation.md has more.",
        epilog="example: tinv benchmark dreambench --data dreambooth/dataset model=sd15 hydra/launcher=slurm",
    )
    command.set_defaults(command=run)
    command.add_argument(
        "overrides", nargs="*", metavar="SETTING", help="of the runs: model=sd15 optimizer.lr=5e-3 ..."
    )
    command.add_argument(
        "--data", type=Path, required=True, help="has the subjects' folders and prompts_and_classes.txt"
    )
    command.add_argument("--out", type=Path, default=Path("outputs/dreambench"), help="default: outputs/dreambench")
    command.add_argument("--subjects", type=_names, default=(), help="some of them: dog,cat,teapot (default: all)")
    command.add_argument("--seeds", type=seeds, default=[0, 1, 2, 3], help="a sample a prompt for each (default 0-3)")
    command.add_argument("--sampler", choices=("ddim", "dpm"), default="ddim", help="DDIM (default) or DPM-Solver++")
    command.add_argument("--num-inference-steps", type=int, default=50, help="of the sampler (default 50)")
    command.add_argument("--guidance-scale", type=float, default=7.5, help="default 7.5")
    command.add_argument(
        "--feature-extractors", choices=("toybox", "clip", "dinov2"), help="default: those that go with the model"
    )
    command.add_argument("--device", help="of samples and towers (default: the fastest there is)")
    command.add_argument("--print", action="store_true", dest="only_print", help="the command that trains, and stop")


def run(arguments: argparse.Namespace) -> None:
    """Do what is left, and print a table."""
    from tinv.evaluation import EvaluationConfig
    from tinv.evaluation.dreambench.dreambench import FILE, plan_command, run_dreambench
    from tinv.evaluation.dreambench.summary import format_summary

    if arguments.only_print:
        print(shlex.join(plan_command(arguments.data, arguments.out, arguments.overrides, only=arguments.subjects)))
        return
    config = EvaluationConfig(
        seeds=arguments.seeds,
        num_inference_steps=arguments.num_inference_steps,
        guidance_scale=arguments.guidance_scale,
        sampler=arguments.sampler,
        feature_extractors=arguments.feature_extractors,
        device=arguments.device,
    )
    summary = run_dreambench(arguments.data, arguments.out, arguments.overrides, only=arguments.subjects, config=config)
    print(format_summary(summary))
    print(arguments.out / FILE)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
