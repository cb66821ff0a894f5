"""Run the studies and print their answers as tables: `python sweep/answers.py` (all of them), or with names.

    python sweep/answers.py num_vectors lr

Each study is an ordinary sweep in outputs/study_<name>; one that is there already is taken up again, so that this can
be stopped and started as one likes. What the words have learned is then measured by `tinv.toybox.toybench.fidelity`, in one
process a study, and once a run.
"""

import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
STUDIES = ("seeds", "num_vectors", "lr", "init", "optuna")
MEASURES = {"val/loss": 4, "recovery": 2, "editability": 2, "minutes": 1}
"""The columns, and their digits."""
REPEATED = ("seed", "concept.name")
"""What is swept to ask the same again: with other draws, of other toys."""


def run(study: str) -> Path:
    """Run what is not done of a study; its folder."""
    begun = sorted(Path("outputs", f"study_{study}").glob("*/plan.json"))
    what = [f"sweep.resume={begun[-1].parent}"] if begun else [f"--config-dir={HERE}", f"+study={study}"]
    subprocess.run([sys.executable, str(HERE.parent / "train.py"), *what], check=False)
    return sorted(Path("outputs", f"study_{study}").glob("*/plan.json"))[-1].parent


def measure(folder: Path) -> None:
    """Measure the words of a study; each run's numbers are kept beside it."""
    command = [sys.executable, "-m", "tinv.toybox.toybench.fidelity", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measured(run: Path) -> dict[str, float]:
    """What a run's word is worth."""
    scores = json.loads((run / "evaluation.json").read_text())["scores"]
    return {name: scores[name] for name in ("recovery", "editability")}


def table(folder: Path) -> str:
    """Markdown: a row for each value, means over the seeds and in brackets the least and the most."""
    measure(folder)
    with (folder / "sweep.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    heads = list(rows[0])
    swept = [name for name in heads[1 : heads.index("status")] if name not in REPEATED] or ["seed"]
    groups: dict[tuple[str, ...], list[dict[str, float]]] = {}
    for row in rows:
        if row["status"] == "done":
            numbers = {"val/loss": float(row["val/loss"]), "minutes": float(row["seconds"]) / 60}
            numbers |= measured(folder / row["folder"])
            groups.setdefault(tuple(row[name] for name in swept), []).append(numbers)
    lines = [[*swept, "runs", *MEASURES], ["---"] * (len(swept) + 1 + len(MEASURES))]
    for values, runs in groups.items():
        lines.append(
            [*values, str(len(runs)), *(spread([run[name] for run in runs], MEASURES[name]) for name in MEASURES)]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(numbers: list[float], digits: int) -> str:
    """`0.61 (0.58 to 0.65)`."""
    middle = f"{statistics.mean(numbers):.{digits}f}"
    return middle if len(numbers) == 1 else f"{middle} ({min(numbers):.{digits}f} to {max(numbers):.{digits}f})"


if __name__ == "__main__":
    for name in sys.argv[1:] or STUDIES:
        print(f"\n## {name}\n\n{table(run(name))}", flush=True)
