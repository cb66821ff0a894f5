"""Reads the results of a sweep under outputs/."""

import csv
from pathlib import Path


def sweep_dir(folder: Path, name: str = "cat_toy") -> Path:
    (path,) = (folder / "outputs" / name).iterdir()
    return path


def table(sweep: Path) -> list[dict[str, str]]:
    with (sweep / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(sweep: Path, name: str) -> list[str]:
    return [row[name] for row in table(sweep)]
