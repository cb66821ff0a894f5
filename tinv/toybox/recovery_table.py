"""Formats the output of `tinv.toybox.recovery` as a table: a row for each concept, with means over its runs.

python -m tinv.toybox.recovery --run outputs/*/* > results.jsonl
python -m tinv.toybox.recovery_table < results.jsonl
"""

import json
import sys
from collections.abc import Iterable
from statistics import mean
from typing import Any

HEADINGS = (
    "concept",
    "runs",
    "S initializer",
    "S best caption",
    "S learned",
    "S renders",
    "R (each run)",
    "denoising, σ",
    "of others, σ",
    "editability (mean, least)",
)


def format_row(name: str, runs: list[dict[str, Any]]) -> list[str]:
    """Returns the cells of a concept."""
    edits = [mean(run["editability"][edit] for run in runs) for edit in runs[0]["editability"]]

    each = ", ".join(f"{run['recovery']:.2f}" for run in runs)

    def average(key: str, digits: int) -> str:
        return f"{mean(run[key] for run in runs):.{digits}f}"

    return [
        name,
        str(len(runs)),
        average("initial", 3),
        average("caption", 3),
        average("learned", 3),
        average("renders", 3),
        f"**{average('recovery', 2)}** ({each})",
        average("denoising_sigmas", 1),
        average("denoising_sigmas_of_others", 1),
        f"{mean(edits):.2f}, {min(edits):.2f}",
    ]


def format_table(reports: Iterable[dict[str, Any]]) -> str:
    """Returns the table in Markdown."""
    by_concept: dict[str, list[dict[str, Any]]] = {}
    for report in reports:
        by_concept.setdefault(report["concept"], []).append(report)
    rows = [list(HEADINGS), ["---"] * len(HEADINGS), *(format_row(name, runs) for name, runs in by_concept.items())]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


if __name__ == "__main__":
    print(format_table(json.loads(line) for line in sys.stdin if line.strip()))
