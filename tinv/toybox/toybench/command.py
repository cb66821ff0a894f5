"""`tinv benchmark toybench`."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from tinv.cli.generate import seeds
from tinv.toybox.toybench import NAMES


def add(benchmarks: Any) -> None:
    """Describe the benchmark and its options."""
    command = benchmarks.add_parser(
        "toybench",
        help=f"{len(NAMES)} toys of the toybox's world, offline, a minute or two each on a CPU core",
        description="Learn a word for each of the twelve toys, as a sweep, and measure them against fresh renders. The "
        "same command goes on with what is not done. docs/evaluation.md has more.",
        epilog="example: tinv benchmark toybench loss=mse,debiased seed=0,1",
    )
    command.set_defaults(command=run)
    command.add_argument(
        "overrides",
        nargs="*",
        metavar="SETTING",
        help="of the runs: loss=debiased seed=0,1 embedding.ema=0.99 ...",
    )
    command.add_argument("--out", type=Path, default=Path("outputs/toybench_all"), help="default: outputs/toybench_all")
    command.add_argument("--toys", type=_names, default=NAMES, help="some of them: lime_cat,teal_mug")
    command.add_argument("--seeds", type=seeds, default=list(range(8)), help="a sample a prompt for each (default 0-7)")
    command.add_argument("--num-inference-steps", type=int, default=20, help="of the solver (default 20)")
    command.add_argument("--device", help="of samples and towers (default: the fastest there is)")
    command.add_argument("--print", action="store_true", dest="only_print", help="the command that trains, and stop")


def run(arguments: argparse.Namespace) -> None:
    """Do what is left, and print a table."""
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
