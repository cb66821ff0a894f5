"""What a training step of each method costs, against the plain one: `python sweep/costs.py`, or with names.

    python sweep/costs.py per_layer negative

Every method is a run of the study `methods`; they take one step each in turn, and the time is the processor's, so that
a crowded machine slows all of them alike. Medians, with the middle half of the pairs in brackets. The last column is
how many steps of the method take as long as those of a plain run.
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from bench.figures import as_text, ratio  # noqa: E402
from bench.runner import Command, laps, started  # noqa: E402

ROUNDS, WARM_UP = 25, 3
STEPS = 150
"""Of a plain run of the study."""


def command(method: str, place: Path) -> Command:
    """A run that is stopped long before its end, without samples and `val/loss`: these cost the same with each."""
    words = ("--config-dir", str(HERE), "+study=methods", "hydra.mode=RUN", f"+method={method}", "~callbacks.samples")
    more = ("trainer=cpu", "trainer.max_steps=100000", "+trainer.limit_val_batches=0", f"paths.root_dir={place}")
    return Command(method, HERE.parent / "train.py", (*words, *more, f"name={method}"))


def measure(methods: Sequence[str]) -> dict[str, list[float]]:
    """Seconds of the processor for each step, by method; the steps of all were taken in turns."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory()))
        runners = [stack.enter_context(started(command(method, place))) for method in methods]
        taken = laps(runners, rounds=ROUNDS, warm_up=WARM_UP)
    return {method: [lap.cpu for lap in steps] for method, steps in zip(methods, taken, strict=True)}


def table(taken: dict[str, list[float]]) -> str:
    """A row for each method."""
    rows = []
    for method, seconds in taken.items():
        times = ratio(seconds, taken["plain"])
        milliseconds = f"{1000 * median(seconds):.0f}"
        rows.append((method, milliseconds, "" if method == "plain" else str(times), round(STEPS / times.median)))
    return as_text(("", "CPU ms", "times plain", "steps in the same time"), rows)


if __name__ == "__main__":
    known = sorted(path.stem for path in (HERE / "method").glob("*.yaml"))
    asked = sys.argv[1:] or known
    if unknown := set(asked) - set(known):
        sys.exit(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    print(table(measure(["plain", *(method for method in asked if method != "plain")])))
