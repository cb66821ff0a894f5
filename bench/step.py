"""How long an optimizer step of four samples takes: diffusers' script, tinv, and a bare loop, one step each in turn."""

from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import commands, subjects
from bench.figures import Figure, ratio
from bench.runner import Command, Lap, laps, started
from tinv.runs.text_table import align_columns

HEAD = ("", "wall ms", "CPU ms", "shipped / this", "best flags / this", "bare loop / this", "RSS MiB", "GPU MiB")
BIG = 10**6
"""Steps of a run that is stopped long before."""


def run(options: Namespace) -> dict[str, Any]:
    """Every subject that this machine can hold, a table each."""
    found = {}
    for name in options.subject or subjects.TITLES:
        print(f"\nstep: {subjects.TITLES[name]}")
        if name in subjects.NEED_GPU and not (commands.has_gpu() or options.tiny):
            print("no GPU here")
            continue
        with TemporaryDirectory() as place:
            subject = subjects.prepare(name, Path(place), tiny=options.tiny)
            found[name] = measure(contestants(subject, Path(place), options), options)
        print(table(found[name]))
    return found


def contestants(subject: subjects.Subject, place: Path, options: Namespace) -> list[Command]:
    """Who takes part."""
    script, extra = options.reference, options.settings
    if script and subject.name == "sdxl":
        script = script.with_name("textual_inversion_sdxl.py")
    theirs = {"shipped": commands.AS_SHIPPED, "best": commands.BEST}
    ours = {"tinv": commands.OURS, "tinv 1x4": commands.PUBLISHED}
    if commands.has_bf16():
        theirs["best bf16"] = (*commands.BEST, commands.BF16)
        ours["tinv bf16"] = commands.OURS_BF16
    else:
        print("no rows in bfloat16: this processor has no instructions for it")
    if not commands.has_gpu():
        ours["tinv onednn"] = commands.OURS_ONEDNN
    found = [
        commands.theirs(f"reference {name}", script, subject, place / name, *flags, steps=BIG)
        for name, flags in (theirs if script else {}).items()
    ]
    found += [commands.ours(name, subject, place / name, *words, *extra, steps=BIG) for name, words in ours.items()]
    return [*found, commands.bare("bare loop", subject, place / "bare", *commands.OURS, *extra, steps=BIG)]


def measure(commands: Sequence[Command], options: Namespace) -> list[dict[str, Any]]:
    """All of them in turns, and what they have in common with each other."""
    with ExitStack() as stack:
        runners = [stack.enter_context(started(command)) for command in commands]
        taken = dict(zip((c.name for c in commands), laps(runners, rounds=options.rounds, warm_up=3), strict=True))
        peaks = [runner.stop() for runner in runners]
    return [row(name, taken, peak) for name, peak in zip(taken, peaks, strict=True)]


def row(name: str, taken: dict[str, list[Lap]], peak: dict[str, int]) -> dict[str, Any]:
    """The figures of one contestant, and how many times as long others take: by CPU time, on a GPU by the clock."""
    mine = taken[name]
    seconds = {other: [lap.wall if "gpu" in peak else lap.cpu for lap in steps] for other, steps in taken.items()}
    best = "reference best bf16" if "bf16" in name else "reference best"
    against = {"shipped": "reference shipped", "best": best, "bare": "bare loop"}
    return {
        "name": name,
        "wall_ms": Figure.of([1000 * lap.wall for lap in mine]).as_json(),
        "cpu_ms": Figure.of([1000 * lap.cpu for lap in mine]).as_json(),
        "ratios": {
            label: ratio(seconds[other], seconds[name]).as_json()
            for label, other in against.items()
            if other in taken and other != name
        },
        "peaks_mib": peak,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """For the screen."""
    lines = []
    for found in rows:
        ratios = [
            str(Figure(**found["ratios"][name])) if name in found["ratios"] else ""
            for name in ("shipped", "best", "bare")
        ]
        times = [str(Figure(**found[name])) for name in ("wall_ms", "cpu_ms")]
        lines.append((found["name"], *times, *ratios, found["peaks_mib"]["rss"], found["peaks_mib"].get("gpu", "")))
    return align_columns([HEAD, *lines], align_right=True)
