"""A complete run from the shell, with start-up and saving, and the time to its first step."""

from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import commands, subjects
from bench.figures import Figure, ratio
from bench.run_process import run_process
from bench.runner import start_process
from tinv.runs.text_table import align_columns

HEAD = ("", "steps", "wall s", "CPU s", "shipped / this", "RSS MiB")
FIRST = 1


def run(options: Namespace) -> dict[str, Any]:
    """The toybox and the hundredth; at full size, a run adds nothing to its steps."""
    results = {}
    for name in options.subject or ("toybox", "hundredth"):
        print(f"\nrun: {subjects.TITLES[name]}")
        with TemporaryDirectory() as folder:
            subject = subjects.prepare(name, Path(folder), tiny=options.tiny)
            results[name] = [
                row for steps in (FIRST, *options.steps) for row in measure(subject, Path(folder), steps, options)
            ]
        print(align_columns([HEAD, *map(_cells, results[name])], align_right=True))
    return results


def measure(subject: subjects.Subject, folder: Path, steps: int, options: Namespace) -> list[dict[str, Any]]:
    """`options.rounds` runs of each command; with `steps=FIRST`, only to the end of the first step."""
    extra = options.settings
    commands_to_run = [
        commands.tinv_command("tinv", subject, folder / "tinv", *commands.OURS, *extra, steps=steps),
    ]
    if commands.has_bf16():
        commands_to_run.append(
            commands.tinv_command("tinv bf16", subject, folder / "bf16", *commands.OURS_BF16, *extra, steps=steps)
        )
    if options.reference:
        shipped = (folder / "theirs", *commands.DEFAULT_FLAGS)
        commands_to_run.insert(
            0, commands.script_command("reference shipped", options.reference, subject, *shipped, steps=steps)
        )
    times: list[list[tuple[float, float, int]]] = [[] for _ in commands_to_run]
    for turn in range(options.rounds):
        for i in range(len(commands_to_run)):
            chosen = (turn + i) % len(commands_to_run)
            times[chosen].append(first(commands_to_run[chosen]) if steps == FIRST else last(commands_to_run[chosen]))
    cpu = [[seconds for _, seconds, _ in runs] for runs in times]
    return [
        {
            "name": command.name,
            "steps": "to the first" if steps == FIRST else steps,
            "wall_s": Figure.of([wall for wall, _, _ in runs]).as_json(),
            "cpu_s": Figure.of(mine).as_json(),
            "shipped": ratio(cpu[0], mine).as_json() if options.reference else None,
            "rss_mib": max(rss for _, _, rss in runs),
        }
        for command, runs, mine in zip(commands_to_run, times, cpu, strict=True)
    ]


def first(command: commands.Command) -> tuple[float, float, int]:
    """Wall and CPU seconds to the end of the first step, and memory until then."""
    with start_process(command) as runner:
        return runner.first.wall, runner.first.cpu, runner.stop()["rss"]


def last(command: commands.Command) -> tuple[float, float, int]:
    """Wall and CPU seconds of the run, and its memory."""
    times = run_process(command)
    return times.wall, times.cpu, times.rss


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    figures = [str(Figure(**row[name])) if row[name] else "" for name in ("wall_s", "cpu_s", "shipped")]
    return row["name"], row["steps"], *figures, row["rss_mib"]
