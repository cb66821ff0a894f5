"""Measure the time of a training step of each method: `python sweep/costs.py`, or with names.

    python sweep/costs.py per_layer negative

Each method is a run of the study `methods`. The runs take one step each in turn, and the script measures CPU time, so
that a busy machine slows all of them alike. The table has the median, the ratio to the plain method with its quartiles,
and how many steps of the method take as long as the study's plain run.
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.figures import ratio  # noqa: E402
from bench.runner import Command, alternate_steps, start_process  # noqa: E402
from tinv.runs.text_table import align_columns  # noqa: E402

ROUNDS, WARM_UP = 25, 3
STEPS = 150
"""Of a plain run of the study."""


def command(method: str, folder: Path) -> Command:
    """Returns a run without samples and `val/loss`, whose cost does not depend on the method."""
    overrides = ("--config-dir", str(ROOT / "sweep"), "+study=methods", "hydra.mode=RUN", f"+method={method}")
    fixed = ("trainer=cpu", "trainer.max_steps=100000", "+trainer.limit_val_batches=0", "~callbacks.samples")
    return Command(method, ROOT / "train.py", (*overrides, *fixed, f"paths.root_dir={folder}", f"name={method}"))


def measure(methods: Sequence[str]) -> dict[str, list[float]]:
    """Returns the CPU seconds of each step, by method."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        runners = [stack.enter_context(start_process(command(method, folder))) for method in methods]
        times = alternate_steps(runners, rounds=ROUNDS, warm_up=WARM_UP)
    return {method: [step.cpu for step in steps] for method, steps in zip(methods, times, strict=True)}


def table(times: dict[str, list[float]]) -> str:
    """Returns a table with a row for each method."""
    rows: list[tuple[object, ...]] = [("", "CPU ms", "times plain", "steps in the same time")]
    for method, seconds in times.items():
        cost = ratio(seconds, times["plain"])
        milliseconds = f"{1000 * median(seconds):.0f}"
        rows.append((method, milliseconds, "" if method == "plain" else cost, round(STEPS / cost.median)))
    return align_columns(rows, align_right=True)


if __name__ == "__main__":
    methods = sorted(path.stem for path in (ROOT / "sweep/method").glob("*.yaml"))
    names = sys.argv[1:] or methods
    if unknown := set(names) - set(methods):
        sys.exit(f"unknown method {', '.join(sorted(unknown))}; choose from {', '.join(methods)}")
    print(table(measure(["plain", *(name for name in names if name != "plain")])))
