"""`python -m bench [FAMILY ...] [setting=value ...]`: measure, print, save the figures; no family means all."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import moments, packed, quality, run, scaling, start, step
from bench.machine import machine
from tinv.runs.files import write_json

FAMILIES = {
    "step": step,
    "start": start,
    "run": run,
    "moments": moments,
    "quality": quality,
    "scaling": scaling,
    "packed": packed,
}
BY_SUBJECT = {"step", "run", "packed"}
RESULTS = Path(__file__).parent / "results"


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options, with overrides and families separated."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="family|setting=value", help=f"{', '.join(FAMILIES)}; all if none")
    parser.add_argument("--reference", type=Path, help="diffusers' textual_inversion.py; without it, tinv's rows only")
    parser.add_argument("--subject", action="append", help="toybox, hundredth, sd15 or sdxl; all that fit if none")
    parser.add_argument("--rounds", type=int, default=15, help="steps, or runs, of each row")
    parser.add_argument("--steps", type=int, nargs="+", default=[50, 500], help="of whole runs")
    parser.add_argument("--points", type=int, default=16, help="of packed")
    parser.add_argument("--batches", nargs="+", choices=packed.BATCHES, default=[*packed.BATCHES], help="of packed")
    parser.add_argument("--lanes", type=int, nargs="+", default=[2, 4, 8, 16], help="of packed, in ascending order")
    parser.add_argument("--resume", type=Path, help="of packed: a file that keeps each row as soon as it is measured")
    parser.add_argument("--tiny", action="store_true", help="a few thousand weights and steps; nothing is saved")
    options = parser.parse_args(words)
    options.settings = [word for word in options.words if "=" in word]
    options.families = [word for word in options.words if "=" not in word] or list(FAMILIES)
    if unknown := [name for name in options.families if name not in FAMILIES]:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(FAMILIES)}")
    if options.reference and not options.reference.is_file():
        parser.error(f"--reference: there is no file {options.reference}")
    return options


def command(words: Sequence[str], reference: Path | None) -> list[str]:
    """The command for the results file, without the path of the script on this machine."""
    metadata = [word.replace(str(reference), reference.name) for word in words] if reference else words
    return ["python", "-m", "bench", *metadata]


def files(name: str, results: Any) -> dict[Path, Any]:
    """The results file of a family; `step` and `run` have one for each subject."""
    parts = {f"{name}_{subject}": rows for subject, rows in results.items()} if name in BY_SUBJECT else {name: results}
    return {RESULTS / f"{part}.json": figures for part, figures in parts.items()}


def main(words: Sequence[str]) -> None:
    """Run the families, print their tables, save their figures."""
    options = parse(words)
    for name in options.families:
        results = FAMILIES[name].run(options)
        if options.tiny or not results:
            continue
        metadata = {"machine": machine(), "command": command(words, options.reference)}
        for path, figures in files(name, results).items():
            write_json(path, {**metadata, "results": figures})
            print(f"\nsaved in {os.path.relpath(path)}")


if __name__ == "__main__":
    main(sys.argv[1:])
