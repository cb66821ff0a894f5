"""Compare the values of a swept setting in pairs of runs: `python sweep/paired.py SWEEP... --against plain`.

Two runs are a pair if they learned the same toy with the same seed. For each measure the table has the mean, and the
mean difference of the pairs with its 95 % confidence interval (Student's t). The pairs of one toy are averaged first,
because its seeds say nothing about other toys; if all pairs are of one toy, its seeds are counted. An interval that
contains 0 shows nothing. Steps and seconds are compared as ratios (geometric mean of the pairs); for them, 1 shows
nothing.

`steps` is where `val/loss` reaches its plateau, `s/step` the CPU time of a training step, and `s to plateau` their
product. A run without these numbers has an empty cell. `python -m tinv.toybox.toybench.fidelity FOLDER` must have
evaluated the runs; others are left out.

`--keep FILE.jsonl` saves a line for each run in a file, beside the lines that it has. The script reads such a file like
a sweep. sweep/results has those behind docs/methods.md.
"""

import argparse
import csv
import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import exp, log
from pathlib import Path

from scipy.stats import t as student_t

from tinv.runs.files import write_text

DIFFERENCES = {"recovery": 2, "editability": 2, "clip_i": 3, "clip_t": 3, "norm": 1}
"""Measures that are compared as differences, and their digits."""
RATIOS = {"steps": 0, "s/step": 3, "s to plateau": 0}
"""Measures that are compared as ratios, and their digits."""
COLUMNS = {**DIFFERENCES, **RATIOS}
Runs = dict[tuple[str, int], dict[str, float]]
"""Measures of runs, by placeholder token and seed."""


def read(paths: Iterable[Path], key: str) -> dict[str, Runs]:
    """Returns the runs of sweeps and of saved files, by the value of the swept setting `key`."""
    results: dict[str, Runs] = {}
    for path in paths:
        for row in load(path) if path.suffix == ".jsonl" else evaluated_runs(path, key):
            pair = row["placeholder_token"], row["seed"]
            results.setdefault(row["value"], {})[pair] = {name: row[name] for name in COLUMNS if name in row}
    return results


def evaluated_runs(sweep: Path, key: str) -> Iterator[dict]:
    """Yields the swept value, placeholder token, seed and measures of each evaluated run of a sweep."""
    with (sweep / "sweep.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            run = sweep / row["folder"]
            if row["status"] == "done" and (run / "evaluation.json").exists():
                card = json.loads((run / "run.json").read_text(encoding="utf-8"))
                pair = {"placeholder_token": card["concept"]["placeholder_token"], "seed": card["seed"]}
                yield {"value": row[key], **pair, **measures(run, card)}


def load(file: Path) -> Iterator[dict]:
    """Yields the runs in a saved file."""
    return map(json.loads, file.read_text(encoding="utf-8").splitlines())


def save(results: Mapping[str, Runs], file: Path) -> None:
    """Saves runs; a run replaces that of the same value, placeholder token and seed in the file."""
    rows = load(file) if file.exists() else ()
    lines = {(row["value"], row["placeholder_token"], row["seed"]): row for row in rows}
    for value, runs in results.items():
        for (token, seed), numbers in runs.items():
            rounded = {name: float(f"{number:.4g}") for name, number in numbers.items()}
            lines[value, token, seed] = {"value": value, "placeholder_token": token, "seed": seed, **rounded}
    write_text(file, "".join(f"{json.dumps(line)}\n" for line in lines.values()))


def measures(run: Path, card: Mapping[str, dict]) -> dict[str, float]:
    """Returns the scores of a run, the norm of its vectors, and its costs."""
    scores = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["scores"]
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    norms = [float(row["embedding/norm"]) for row in rows if row.get("embedding/norm")]
    steps = plateau([(int(row["step"]), float(row["val/loss"])) for row in rows if row.get("val/loss")])
    seconds = step_seconds(card)
    numbers = {
        **scores,
        "norm": norms[-1] if norms else None,
        "steps": steps,
        "s/step": seconds,
        "s to plateau": steps * seconds if steps and seconds else None,
    }
    return {name: float(numbers[name]) for name in COLUMNS if numbers.get(name) is not None}


def plateau(losses: Sequence[tuple[int, float]], *, share: float = 0.05, min_count: int = 6) -> int | None:
    """Returns the first step from which on the loss stays near its last value.

    Args:
        losses: step and loss, ordered by step.
        share: how near, as a fraction of the difference between the first and the last loss.
        min_count: the least number of losses.

    Returns:
        The step; None if there are too few losses, or if the loss did not fall.
    """
    if len(losses) < min_count or losses[0][1] <= losses[-1][1]:
        return None
    start, last = losses[-1]
    for step, loss in reversed(losses):
        if abs(loss - last) > share * (losses[0][1] - last):
            break
        start = step
    return start


def step_seconds(card: Mapping[str, dict]) -> float | None:
    """Returns the CPU seconds of a training step in the run's last session; None if run.json does not have them."""
    steps = card.get("result", {}).get("steps", 0) - (card.get("resumed_at") or 0)
    seconds = card.get("cpu_seconds", {}).get("training")
    return seconds / steps if seconds and steps > 0 else None


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Returns the mean and half the width of its 95 % interval; None for a single value."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return mean, None
    return mean, float(student_t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5


def difference(values: Sequence[float], digits: int) -> str:
    """Returns `-0.12 (-0.20 to -0.04)`, or the mean alone for a single pair."""
    mean, half = interval(values)
    text = f"{mean:+.{digits}f}"
    return text if half is None else f"{text} ({mean - half:+.{digits}f} to {mean + half:+.{digits}f})"


def ratio(logarithms: Sequence[float]) -> str:
    """Returns `x 1.52 (1.31 to 1.76)` from the logarithms of ratios."""
    mean, half = interval(logarithms)
    text = f"x {exp(mean):.2f}"
    return text if half is None else f"{text} ({exp(mean - half):.2f} to {exp(mean + half):.2f})"


def table(results: dict[str, Runs], key: str, against: str, columns: Sequence[str]) -> str:
    """Returns a Markdown table with a row for each value, that of the baseline first."""
    base = results[against]
    lines = [[key, "toys", "pairs", *(cell for name in columns for cell in (name, f"against {against}"))]]
    lines.append(["---"] * len(lines[0]))
    for value in sorted(results, key=lambda value: value != against):
        runs = results[value]
        pairs = runs.keys() & base.keys()
        cells = [value, str(len({token for token, _ in pairs})), str(len(pairs))]
        for name in columns:
            numbers = [run[name] for run in runs.values() if name in run]
            cells.append(f"{statistics.mean(numbers):.{COLUMNS[name]}f}" if numbers else "")
            cells.append(_comparison(runs, base, name) if value != against else "")
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _comparison(runs: Runs, base: Runs, name: str) -> str:
    pairs = [pair for pair in runs if name in runs[pair] and name in base.get(pair, {})]
    if not pairs:
        return ""
    if name in RATIOS:
        return ratio(average_seeds({pair: log(runs[pair][name] / base[pair][name]) for pair in pairs}))
    return difference(average_seeds({pair: runs[pair][name] - base[pair][name] for pair in pairs}), COLUMNS[name])


def average_seeds(pairs: Mapping[tuple[str, int], float]) -> list[float]:
    """Returns the mean of each toy over its seeds; for a single toy, the value of each seed."""
    toys: dict[str, list[float]] = {}
    for (token, _), value in pairs.items():
        toys.setdefault(token, []).append(value)
    return [statistics.mean(values) for values in toys.values()] if len(toys) > 1 else [*pairs.values()]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python sweep/paired.py", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, help="folders of sweeps, and files written by --keep")
    parser.add_argument("--key", default="method", help="the swept setting (default: method)")
    parser.add_argument("--against", default="plain", help="the value to compare with (default: plain)")
    parser.add_argument(
        "--columns", nargs="+", default=list(COLUMNS), choices=list(COLUMNS), metavar="NAME", help=", ".join(COLUMNS)
    )
    parser.add_argument("--keep", type=Path, metavar="FILE.jsonl", help="save the runs in a file")
    arguments = parser.parse_args()
    results = read(arguments.paths, arguments.key)
    if arguments.against not in results:
        values = ", ".join(results) or "no evaluated run"
        parser.error(
            f"--against {arguments.against}: no evaluated run has {arguments.key}={arguments.against}. Found: {values}."
        )
    if arguments.keep:
        save(results, arguments.keep)
    print(table(results, arguments.key, arguments.against, arguments.columns))


if __name__ == "__main__":
    main()
