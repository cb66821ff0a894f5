"""Run studies and print their results as tables: `python sweep/answers.py` (all of them), or with names.

    python sweep/answers.py num_vectors lr

Each study is an ordinary sweep in outputs/study_<name>. An unfinished one is resumed, so the script can be stopped and
started again. `tinv.toybox.toybench.fidelity` then evaluates the runs, each of them once.
"""

import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ("seeds", "num_vectors", "lr", "init", "optuna")
COLUMNS = {"val/loss": 4, "recovery": 2, "editability": 2, "minutes": 1}
"""The measures, and their digits."""
REPEATED = ("seed", "concept.name")
"""Swept settings over which a row of the table averages."""


def run(study: str) -> Path:
    """Runs what is left of a study, and returns its folder."""
    started = sorted(Path("outputs", f"study_{study}").glob("*/plan.json"))
    new = [f"--config-dir={ROOT / 'sweep'}", f"+study={study}"]
    overrides = [f"sweep.resume={started[-1].parent}"] if started else new
    subprocess.run([sys.executable, str(ROOT / "train.py"), *overrides], check=False)
    return sorted(Path("outputs", f"study_{study}").glob("*/plan.json"))[-1].parent


def table(folder: Path) -> str:
    """Returns a Markdown table with a row for each value: means over the seeds, and the minimum and maximum."""
    command = [sys.executable, "-m", "tinv.toybox.toybench.fidelity", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with (folder / "sweep.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    heads = list(rows[0])
    swept = [name for name in heads[1 : heads.index("status")] if name not in REPEATED] or ["seed"]
    groups: dict[tuple[str, ...], list[dict[str, float]]] = {}
    for row in rows:
        if row["status"] == "done":
            evaluation = json.loads((folder / row["folder"] / "evaluation.json").read_text(encoding="utf-8"))
            numbers = {"val/loss": float(row["val/loss"]), "minutes": float(row["seconds"]) / 60}
            numbers |= {name: evaluation["scores"][name] for name in ("recovery", "editability")}
            groups.setdefault(tuple(row[name] for name in swept), []).append(numbers)
    lines = [[*swept, "runs", *COLUMNS], ["---"] * (len(swept) + 1 + len(COLUMNS))]
    for values, runs in groups.items():
        measures = [spread([run[name] for run in runs], digits) for name, digits in COLUMNS.items()]
        lines.append([*values, str(len(runs)), *measures])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(numbers: list[float], digits: int) -> str:
    """Returns the mean, minimum and maximum as `0.61 (0.58 to 0.65)`."""
    mean = f"{statistics.mean(numbers):.{digits}f}"
    return mean if len(numbers) == 1 else f"{mean} ({min(numbers):.{digits}f} to {max(numbers):.{digits}f})"


if __name__ == "__main__":
    for name in sys.argv[1:] or STUDIES:
        print(f"\n## {name}\n\n{table(run(name))}", flush=True)
