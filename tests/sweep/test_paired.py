"""Runs of a study against runs of the same toy and seed."""

import csv
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "sweep" / "paired.py"
paired = runpy.run_path(str(SCRIPT))


def sweep(folder, rows):
    """A folder as a sweep and `tinv.toybench.fidelity` leave it: (method, toy, seed, recovery or None)."""
    table = []
    for point, (method, toy, seed, recovery) in enumerate(rows):
        run = folder / str(point)
        run.mkdir(parents=True)
        (run / "run.json").write_text(json.dumps({"concept": {"placeholder": toy}, "seed": seed}))
        (run / "metrics.csv").write_text(f"step,embedding/norm\n0,\n1,{seed + 1}\n2,\n")
        if recovery is not None:
            scores = {"recovery": recovery, "editability": 1.0, "clip_i": 0.5, "clip_t": 0.4}
            (run / "evaluation.json").write_text(json.dumps({"scores": scores}))
        table.append({"point": point, "method": method, "status": "done", "folder": point})
    with (folder / "sweep.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return folder


def show(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)


def test_the_toy_and_the_seed_do_not_count(tmp_path):
    """Toys differ by far more than methods do; the pairs differ by .1 and .3, whatever else there is."""
    one = sweep(tmp_path / "a", [("plain", "<cat>", 0, 0.1), ("cross", "<cat>", 0, 0.2), ("cross", "<cat>", 1, None)])
    two = sweep(tmp_path / "b", [("cross", "<dog>", 0, 0.9), ("plain", "<dog>", 0, 0.6), ("plain", "<dog>", 7, 0.6)])
    done = show(one, two)
    assert done.returncode == 0, done.stderr
    head, _, plain, cross = done.stdout.strip().splitlines()
    assert head.startswith("| method | pairs | recovery | against it |")
    assert plain.startswith("| plain | 3 | 0.43 |  |")
    assert cross.startswith("| cross | 2 | 0.55 | +0.20 (-1.07 to +1.47) |")
    assert cross.endswith("| 1.0 | +0.0 (+0.0 to +0.0) |")


def test_intervals_are_students():
    """scipy.stats.ttest_1samp([.1, .2, .4, .3], 0).confidence_interval() is (.0446, .4554)."""
    low, high = re.findall(r"[+-][\d.]+", paired["difference"]([0.1, 0.2, 0.4, 0.3], 4))[1:]
    assert float(low) == pytest.approx(0.0446, abs=3e-4)
    assert float(high) == pytest.approx(0.4554, abs=3e-4)
    assert paired["difference"]([0.25], 2) == "+0.25"


def test_what_there_is_nothing_of_is_said(tmp_path):
    done = show(sweep(tmp_path / "a", [("cross", "<cat>", 0, 0.2)]))
    assert done.returncode == 2
    assert "no run with method=plain has been measured; there is cross" in done.stderr
