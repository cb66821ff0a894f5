"""`tinv benchmark`: evaluation protocols with many subjects."""

import argparse
import shlex
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tinv.cli.generate import seeds

OPTIONAL = ("tinv.toybox.toybench.command",)
"""Modules of benchmarks in packages that may be missing; each has `add(benchmarks)`."""


def add(commands: Any) -> None:
    """Adds the parser of the command."""
    group = commands.add_parser("benchmark", help="run a benchmark: train, sample and evaluate many subjects")
    names = group.add_subparsers(title="benchmarks", required=True, metavar="NAME")
    _add_dreambench(names)
    for module in OPTIONAL:
        if find_spec(module.rpartition(".")[0]):
            import_module(module).add(names)


def _add_dreambench(names: Any) -> None:
    command = names.add_parser(
        "dreambench",
        help="30 subjects x 25 prompts x 4 samples",
        description="Train an embedding for each subject of DreamBench, as a sweep, and apply its protocol. "
        "Repeat the command to continue. See docs/evaluation.md.",
        epilog="example: tinv benchmark dreambench --data dreambooth/dataset model=sd15 hydra/launcher=slurm",
    )
    command.set_defaults(command=run)
    command.add_argument(
        "overrides", nargs="*", metavar="SETTING", help="settings of the runs: model=sd15 optimizer.lr=5e-3 ..."
    )
    command.add_argument(
        "--data", type=Path, required=True, help="folder with the subjects' folders and prompts_and_classes.txt"
    )
    command.add_argument("--out", type=Path, default=Path("outputs/dreambench"), help="default: outputs/dreambench")
    command.add_argument("--subjects", type=_names, default=(), help="dog,cat,teapot (default: all)")
    command.add_argument("--seeds", type=seeds, default=[0, 1, 2, 3], help="seeds for each prompt (default: 0-3)")
    command.add_argument("--sampler", choices=("ddim", "dpm"), default="ddim", help="DDIM (default) or DPM-Solver++")
    command.add_argument("--num-inference-steps", type=int, default=50, help="sampler steps (default: 50)")
    command.add_argument("--guidance-scale", type=float, default=7.5, help="default: 7.5")
    command.add_argument(
        "--feature-extractors", choices=("toybox", "clip", "dinov2"), help="default: those of the model"
    )
    command.add_argument("--device", help="cpu, cuda, mps (default: the fastest available)")
    command.add_argument("--print", action="store_true", dest="only_print", help="print the training command and exit")


def run(arguments: argparse.Namespace) -> None:
    """Runs the remaining steps and prints a table."""
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
