"""What each value of a sweep changes, against one of them: `python sweep/paired.py PLACE... --against plain`.

Two runs are a pair if they learned the same thing with the same seed, so that neither the toy nor the luck of the
draws is between them. Of each measure: the mean, and the mean difference of the pairs with its 95 % interval (Student's
t). Pairs of one toy are averaged first: seeds say more of a toy, and nothing of other toys. Where all pairs are of one
toy, they are what is counted. An interval that holds 0 says that nothing has been shown. What is counted in steps and
seconds is compared as a ratio, the geometric mean of the pairs'; there it is 1 that says nothing.

`steps` is where `val/loss` came to rest (`plateau`), `s/step` what a training step took of the processor, which other
programs of a crowded machine do not touch, and `s to rest` both together. Runs that do not tell have no number there.
The runs must have been measured before, by `python -m tinv.toybox.toybench.fidelity FOLDER`; those that have not are left out.

`--keep FILE.jsonl` writes down what was read, a line for each run, beside what is in the file already. Such a file can
be read again like a sweep, so that a study can grow for as long as it takes; results/ has those of ours.
"""

import argparse
import csv
import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import exp, log
from pathlib import Path

from tinv.runs.files import write_text

DIFFERENCES = {"recovery": 2, "editability": 2, "clip_i": 3, "clip_t": 3, "norm": 1}
"""What is compared by differences, and its digits."""
RATIOS = {"steps": 0, "s/step": 3, "s to rest": 0}
"""What is compared by ratios, and its digits."""
COLUMNS = {**DIFFERENCES, **RATIOS}
T_975 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12)
"""Student's t at 97.5 %, of 1 to 16 degrees of freedom; it is 2.0 to 2.1 from there on."""

Runs = dict[tuple[str, int], dict[str, float]]
"""What was measured, by placeholder and seed."""


def read(places: Iterable[Path], key: str) -> dict[str, Runs]:
    """The measured runs of sweeps, and those that were kept in files, by the value of a swept key."""
    found: dict[str, Runs] = {}
    for place in places:
        for line in kept(place) if place.suffix == ".jsonl" else measured(place, key):
            whose = line["placeholder_token"], line["seed"]
            found.setdefault(line["value"], {})[whose] = {name: line[name] for name in COLUMNS if name in line}
    return found


def measured(sweep: Path, key: str) -> Iterator[dict]:
    """The measured runs of a sweep: what was swept, of what, and the numbers."""
    with (sweep / "sweep.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            run = sweep / row["folder"]
            if row["status"] == "done" and (run / "evaluation.json").exists():
                card = json.loads((run / "run.json").read_text(encoding="utf-8"))
                whose = {"placeholder_token": card["concept"]["placeholder_token"], "seed": card["seed"]}
                yield {"value": row[key], **whose, **numbers(run, card)}


def kept(file: Path) -> Iterator[dict]:
    """The runs that a file holds."""
    return map(json.loads, file.read_text(encoding="utf-8").splitlines())


def keep(found: Mapping[str, Runs], file: Path) -> None:
    """Write runs down, in place of those that the file holds of the same value, placeholder and seed."""
    lines = (
        {(line["value"], line["placeholder_token"], line["seed"]): line for line in kept(file)} if file.exists() else {}
    )
    for value, runs in found.items():
        for (placeholder, seed), figures in runs.items():
            rounded = {name: float(f"{figure:.4g}") for name, figure in figures.items()}
            lines[value, placeholder, seed] = {
                "value": value,
                "placeholder_token": placeholder,
                "seed": seed,
                **rounded,
            }
    write_text(file, "".join(f"{json.dumps(line)}\n" for line in lines.values()))


def numbers(run: Path, card: Mapping[str, dict]) -> dict[str, float]:
    """What a run's word is worth, how long its rows have become, and what it took."""
    scores = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["scores"]
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    norms = [float(row["embedding/norm"]) for row in rows if row.get("embedding/norm")]
    steps = plateau([(int(row["step"]), float(row["val/loss"])) for row in rows if row.get("val/loss")])
    each = step_seconds(card)
    found = {
        **scores,
        "norm": norms[-1] if norms else None,
        "steps": steps,
        "s/step": each,
        "s to rest": steps * each if steps and each else None,
    }
    return {name: float(found[name]) for name in COLUMNS if found.get(name) is not None}


def plateau(losses: Sequence[tuple[int, float]], *, share: float = 0.05, least: int = 6) -> int | None:
    """The first step from which on the loss stays near its last value.

    Args:
        losses: step and loss, in the order of steps.
        share: how near, as a share of how far it fell from the first to the last.
        least: how many there must be.

    Returns:
        The step; None where there are too few, or where the loss did not fall.
    """
    if len(losses) < least or losses[0][1] <= losses[-1][1]:
        return None
    last = losses[-1][1]
    rest = losses[-1][0]
    for step, loss in reversed(losses):
        if abs(loss - last) > share * (losses[0][1] - last):
            break
        rest = step
    return rest


def step_seconds(card: Mapping[str, dict]) -> float | None:
    """Seconds of the processor that a training step took in a run's last session; None where the card is older."""
    made = card.get("result", {}).get("steps", 0) - (card.get("resumed_at") or 0)
    spent = card.get("cpu_seconds", {}).get("training")
    return spent / made if spent and made > 0 else None


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and how far the 95 % interval goes to both sides; None where there is but one value."""
    middle = statistics.mean(values)
    if len(values) < 2:
        return middle, None
    quantile = T_975[len(values) - 2] if len(values) - 2 < len(T_975) else 2.1
    return middle, quantile * statistics.stdev(values) / len(values) ** 0.5


def difference(values: Sequence[float], digits: int) -> str:
    """`-0.12 (-0.20 to -0.04)`, or the mean alone where there is but one pair."""
    middle, half = interval(values)
    said = f"{middle:+.{digits}f}"
    return said if half is None else f"{said} ({middle - half:+.{digits}f} to {middle + half:+.{digits}f})"


def ratio(logarithms: Sequence[float]) -> str:
    """`x 1.52 (1.31 to 1.76)`, of the logarithms of ratios."""
    middle, half = interval(logarithms)
    said = f"x {exp(middle):.2f}"
    return said if half is None else f"{said} ({exp(middle - half):.2f} to {exp(middle + half):.2f})"


def table(found: dict[str, Runs], key: str, against: str, columns: Sequence[str]) -> str:
    """Markdown: a row for each value, that which the others are held against first."""
    base = found[against]
    lines = [[key, "toys", "pairs", *(cell for name in columns for cell in (name, "against it"))]]
    lines.append(["---"] * len(lines[0]))
    for value in sorted(found, key=lambda value: value != against):
        runs = found[value]
        both = runs.keys() & base.keys()
        cells = [value, str(len({toy for toy, _ in both})), str(len(both))]
        for name in columns:
            own = [run[name] for run in runs.values() if name in run]
            cells.append(f"{statistics.mean(own):.{COLUMNS[name]}f}" if own else "")
            cells.append(_compared(runs, base, name) if value != against else "")
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _compared(runs: Runs, base: Runs, name: str) -> str:
    both = [each for each in runs if name in runs[each] and name in base.get(each, {})]
    if not both:
        return ""
    if name in RATIOS:
        return ratio(by_toy({each: log(runs[each][name] / base[each][name]) for each in both}))
    return difference(by_toy({each: runs[each][name] - base[each][name] for each in both}), COLUMNS[name])


def by_toy(pairs: Mapping[tuple[str, int], float]) -> list[float]:
    """The mean of each toy over its seeds; of a single toy, what each seed has."""
    toys = {toy: [value for (of, _), value in pairs.items() if of == toy] for toy, _ in pairs}
    return [statistics.mean(values) for values in toys.values()] if len(toys) > 1 else [*pairs.values()]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python sweep/paired.py", description=__doc__)
    parser.add_argument("places", nargs="+", type=Path, help="sweeps, and files of kept runs")
    parser.add_argument("--key", default="method", help="what was swept (default: method)")
    parser.add_argument("--against", default="plain", help="the value that the others are held against")
    parser.add_argument(
        "--columns", nargs="+", default=list(COLUMNS), choices=list(COLUMNS), metavar="NAME", help=", ".join(COLUMNS)
    )
    parser.add_argument("--keep", type=Path, metavar="FILE.jsonl", help="write down what was read")
    arguments = parser.parse_args()
    found = read(arguments.places, arguments.key)
    if arguments.against not in found:
        known = ", ".join(found) or "nothing that is measured"
        parser.error(f"no run with {arguments.key}={arguments.against} has been measured; there is {known}")
    if arguments.keep:
        keep(found, arguments.keep)
    print(table(found, arguments.key, arguments.against, arguments.columns))


if __name__ == "__main__":
    main()
