"""What each value of a sweep changes, against one of them: `python sweep/paired.py FOLDER... --against plain`.

Two runs are a pair if they learned the same thing with the same seed, so that neither the toy nor the luck of the
draws is between them. Of each measure: the mean, and the mean difference of the pairs with its 95 % interval (Student's
t, pairs taken as independent). An interval that holds 0 says that nothing has been shown. The runs must have been
measured before, by `python -m tinv.toybench.fidelity FOLDER`; those that have not are left out.
"""

import argparse
import csv
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

MEASURES = {"recovery": 2, "editability": 2, "clip_i": 3, "clip_t": 3, "norm": 1}
"""What is shown, and its digits."""
T_975 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12)
"""Student's t at 97.5 %, of 1 to 16 degrees of freedom; it is 2.0 to 2.1 from there on."""

Runs = dict[tuple[str, int], dict[str, float]]
"""What was measured, by placeholder and seed."""


def read(folders: Iterable[Path], key: str) -> dict[str, Runs]:
    """The measured runs of sweeps, by the value of a swept key."""
    found: dict[str, Runs] = {}
    for folder in folders:
        with (folder / "sweep.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                run = folder / row["folder"]
                if row["status"] == "done" and (run / "evaluation.json").exists():
                    card = json.loads((run / "run.json").read_text(encoding="utf-8"))
                    whose = card["concept"]["placeholder"], card["seed"]
                    found.setdefault(row[key], {})[whose] = numbers(run)
    return found


def numbers(run: Path) -> dict[str, float]:
    """What a run's word is worth, and how long its rows have become."""
    scores = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["scores"]
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        norms = [row["embedding/norm"] for row in csv.DictReader(file) if row.get("embedding/norm")]
    return {**scores, "norm": float(norms[-1]) if norms else float("nan")}


def difference(values: Sequence[float], digits: int) -> str:
    """`-0.12 (-0.20 to -0.04)`, or the mean alone where there is but one pair."""
    middle = statistics.mean(values)
    if len(values) < 2:
        return f"{middle:+.{digits}f}"
    quantile = T_975[len(values) - 2] if len(values) - 2 < len(T_975) else 2.1
    half = quantile * statistics.stdev(values) / len(values) ** 0.5
    return f"{middle:+.{digits}f} ({middle - half:+.{digits}f} to {middle + half:+.{digits}f})"


def table(found: dict[str, Runs], key: str, against: str) -> str:
    """Markdown: a row for each value, that which the others are held against first."""
    base = found[against]
    lines = [[key, "pairs", *(cell for name in MEASURES for cell in (name, "against it"))]]
    lines.append(["---"] * len(lines[0]))
    for value in sorted(found, key=lambda value: value != against):
        runs = found[value]
        pairs = sorted(runs.keys() & base.keys())
        cells = [value, str(len(pairs))]
        for name, digits in MEASURES.items():
            cells.append(f"{statistics.mean(run[name] for run in runs.values()):.{digits}f}")
            gains = [runs[whose][name] - base[whose][name] for whose in pairs]
            cells.append(difference(gains, digits) if gains and value != against else "")
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python sweep/paired.py", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="sweeps")
    parser.add_argument("--key", default="method", help="what was swept (default: method)")
    parser.add_argument("--against", default="plain", help="the value that the others are held against")
    arguments = parser.parse_args()
    found = read(arguments.folders, arguments.key)
    if arguments.against not in found:
        known = ", ".join(found) or "nothing that is measured"
        parser.error(f"no run with {arguments.key}={arguments.against} has been measured; there is {known}")
    print(table(found, arguments.key, arguments.against))


if __name__ == "__main__":
    main()
