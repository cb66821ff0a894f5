"""`tinv benchmark toybench`."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from tinv.cli.generate import seeds
from tinv.toybox.toybench import NAMES


def add(benchmarks: Any) -> None:
    """Adds the benchmark and its options."""
    command = benchmarks.add_parser(
        "toybench",
        help=f"{len(NAMES)} toys of the toybox's world, offline, a minute or two each on a CPU core",
        description="Train an embedding for each of the twelve toys, as a sweep, and compare samples with renders. "
        "Repeating the command resumes the benchmark. See docs/evaluation.md.",
        epilog="example: tinv benchmark toybench loss=mse,debiased seed=0,1",
    )
    command.set_defaults(command=run)
    command.add_argument(
        "overrides",
        nargs="*",
        metavar="SETTING",
        help="overrides of the runs: loss=debiased seed=0,1 embedding.ema=0.99 ...",
    )
    command.add_argument("--out", type=Path, default=Path("outputs/toybench_all"), help="default: outputs/toybench_all")
    command.add_argument(
        "--toys", type=_names, default=NAMES, help="a subset, such as lime_cat,teal_mug (default: all)"
    )
    command.add_argument(
        "--seeds", type=seeds, default=list(range(8)), help="each prompt is drawn once with each (default 0-7)"
    )
    command.add_argument("--num-inference-steps", type=int, default=20, help="of the sampler (default 20)")
    command.add_argument("--device", help="for samples and feature extractors (default: the fastest)")
    command.add_argument("--print", action="store_true", dest="only_print", help="only print the training command")


def run(arguments: argparse.Namespace) -> None:
    """Runs what is not done, and prints a table."""
    from tinv.silence import quiet

    with quiet():
        from tinv.evaluation.dreambench.summary import format_summary
        from tinv.toybox.toybench.benchmark import FILE, plan_command, toybench

    if arguments.only_print:
        print(shlex.join(plan_command(arguments.out, arguments.overrides, toys=arguments.toys)))
        return
    summary = toybench(
        arguments.out,
        arguments.overrides,
        toys=arguments.toys,
        seeds=arguments.seeds,
        num_inference_steps=arguments.num_inference_steps,
        device=arguments.device,
    )
    print(format_summary(summary))
    print(arguments.out / FILE)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
