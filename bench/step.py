"""How long an optimizer step of four samples takes: diffusers' script, tinv, and a bare loop, one step each in turn."""

from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import commands, subjects
from bench.figures import Figure, ratio
from bench.runner import Command, StepTime, alternate_steps, start_process
from tinv.runs.text_table import align_columns

HEAD = ("", "wall ms", "CPU ms", "shipped / this", "best flags / this", "bare loop / this", "RSS MiB", "GPU MiB")
BIG = 10**6
"""A number of steps that no measurement reaches."""


def run(options: Namespace) -> dict[str, Any]:
    """A table for each subject that this machine can run."""
    results = {}
    for name in options.subject or subjects.TITLES:
        print(f"\nstep: {subjects.TITLES[name]}")
        if name in subjects.NEED_GPU and not (commands.has_gpu() or options.tiny):
            print("no GPU available")
            continue
        with TemporaryDirectory() as folder:
            subject = subjects.prepare(name, Path(folder), tiny=options.tiny)
            results[name] = measure(commands_to_compare(subject, Path(folder), options), options)
        print(table(results[name]))
    return results


def commands_to_compare(subject: subjects.Subject, folder: Path, options: Namespace) -> list[Command]:
    """The rows of the table."""
    script, extra = options.reference, options.settings
    if script and subject.name == "sdxl":
        script = script.with_name("textual_inversion_sdxl.py")
    theirs = {"shipped": commands.DEFAULT_FLAGS, "best": commands.BEST_FLAGS}
    ours = {"tinv": commands.OURS, "tinv 1x4": commands.MICRO_BATCHES}
    if commands.has_bf16():
        theirs["best bf16"] = (*commands.BEST_FLAGS, commands.BF16)
        ours["tinv bf16"] = commands.OURS_BF16
    else:
        print("no bfloat16 rows: this processor would emulate it")
    results = [
        commands.script_command(f"reference {name}", script, subject, folder / name, *flags, steps=BIG)
        for name, flags in (theirs if script else {}).items()
    ]
    results += [
        commands.tinv_command(name, subject, folder / name, *words, *extra, steps=BIG) for name, words in ours.items()
    ]
    return [
        *results,
        commands.bare_loop_command("bare loop", subject, folder / "bare", *commands.OURS, *extra, steps=BIG),
    ]


def measure(commands: Sequence[Command], options: Namespace) -> list[dict[str, Any]]:
    """One step of each command in turn; the figures of each row."""
    with ExitStack() as stack:
        runners = [stack.enter_context(start_process(command)) for command in commands]
        times = dict(
            zip((c.name for c in commands), alternate_steps(runners, rounds=options.rounds, warm_up=3), strict=True)
        )
        peaks = [runner.stop() for runner in runners]
    return [row(name, times, peak) for name, peak in zip(times, peaks, strict=True)]


def row(name: str, times: dict[str, list[StepTime]], peak: dict[str, int]) -> dict[str, Any]:
    """The figures of one command, and the ratios of the others to it: of CPU time, on a GPU of wall time."""
    mine = times[name]
    seconds = {
        other: [step_time.wall if "gpu" in peak else step_time.cpu for step_time in steps]
        for other, steps in times.items()
    }
    best = "reference best bf16" if "bf16" in name else "reference best"
    against = {"shipped": "reference shipped", "best": best, "bare": "bare loop"}
    return {
        "name": name,
        "wall_ms": Figure.of([1000 * step_time.wall for step_time in mine]).as_json(),
        "cpu_ms": Figure.of([1000 * step_time.cpu for step_time in mine]).as_json(),
        "ratios": {
            label: ratio(seconds[other], seconds[name]).as_json()
            for label, other in against.items()
            if other in times and other != name
        },
        "peaks_mib": peak,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The figures as text."""
    lines = []
    for results in rows:
        ratios = [
            str(Figure(**results["ratios"][name])) if name in results["ratios"] else ""
            for name in ("shipped", "best", "bare")
        ]
        times = [str(Figure(**results[name])) for name in ("wall_ms", "cpu_ms")]
        lines.append(
            (results["name"], *times, *ratios, results["peaks_mib"]["rss"], results["peaks_mib"].get("gpu", ""))
        )
    return align_columns([HEAD, *lines], align_right=True)
