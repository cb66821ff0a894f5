"""A whole run from the shell, start and saving included, and the way to its first step; one of each in turn."""

from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import commands, subjects
from bench.figures import Figure, ratio
from bench.runner import started
from bench.whole import whole
from tinv.runs.text_table import align_columns

HEAD = ("", "steps", "wall s", "CPU s", "shipped / this", "RSS MiB")
FIRST = 1


def run(options: Namespace) -> dict[str, Any]:
    """The toybox and the hundredth, whatever the machine; at full size a run says nothing that its steps do not."""
    found = {}
    for name in options.subject or ("toybox", "hundredth"):
        print(f"\nrun: {subjects.TITLES[name]}")
        with TemporaryDirectory() as place:
            subject = subjects.prepare(name, Path(place), tiny=options.tiny)
            found[name] = [
                row for steps in (FIRST, *options.steps) for row in measure(subject, Path(place), steps, options)
            ]
        print(align_columns([HEAD, *map(_cells, found[name])], align_right=True))
    return found


def measure(subject: subjects.Subject, place: Path, steps: int, options: Namespace) -> list[dict[str, Any]]:
    """As many runs of each as there are rounds; of the first step alone, up to it and no further."""
    extra = options.settings
    entered = [
        commands.ours("tinv", subject, place / "tinv", *commands.OURS, *extra, steps=steps),
    ]
    if commands.has_bf16():
        entered.append(commands.ours("tinv bf16", subject, place / "bf16", *commands.OURS_BF16, *extra, steps=steps))
    if options.reference:
        shipped = (place / "theirs", *commands.AS_SHIPPED)
        entered.insert(0, commands.theirs("reference shipped", options.reference, subject, *shipped, steps=steps))
    taken: list[list[tuple[float, float, int]]] = [[] for _ in entered]
    for turn in range(options.rounds):
        for i in range(len(entered)):
            chosen = (turn + i) % len(entered)
            taken[chosen].append(first(entered[chosen]) if steps == FIRST else last(entered[chosen]))
    cpu = [[seconds for _, seconds, _ in runs] for runs in taken]
    return [
        {
            "name": command.name,
            "steps": "to the first" if steps == FIRST else steps,
            "wall_s": Figure.of([wall for wall, _, _ in runs]).as_json(),
            "cpu_s": Figure.of(mine).as_json(),
            "shipped": ratio(cpu[0], mine).as_json() if options.reference else None,
            "rss_mib": max(rss for _, _, rss in runs),
        }
        for command, runs, mine in zip(entered, taken, cpu, strict=True)
    ]


def first(command: commands.Command) -> tuple[float, float, int]:
    """Wall and CPU seconds to the end of the first step, and memory until then."""
    with started(command) as runner:
        return runner.first.wall, runner.first.cpu, runner.stop()["rss"]


def last(command: commands.Command) -> tuple[float, float, int]:
    """Wall and CPU seconds of the whole run, and its memory."""
    taken = whole(command)
    return taken.wall, taken.cpu, taken.rss


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    figures = [str(Figure(**row[name])) if row[name] else "" for name in ("wall_s", "cpu_s", "shipped")]
    return row["name"], row["steps"], *figures, row["rss_mib"]
