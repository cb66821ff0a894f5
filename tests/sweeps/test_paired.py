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
COLUMNS = list(paired["COLUMNS"])


def sweep(folder, rows):
    """A folder as a sweep and `tinv.toybox.toybench.fidelity` leave it: (method, toy, seed, recovery or None)."""
    table = []
    for point, (method, toy, seed, recovery) in enumerate(rows):
        run = folder / str(point)
        run.mkdir(parents=True)
        (run / "run.json").write_text(json.dumps({"concept": {"placeholder_token": toy}, "seed": seed}))
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


def told(run, *, cpu, losses):
    """What newer runs tell: seconds of the processor over 4 steps, and losses at every second step."""
    card = json.loads((run / "run.json").read_text())
    card |= {"result": {"steps": 4}, "cpu_seconds": {"training": cpu}}
    (run / "run.json").write_text(json.dumps(card))
    lines = "".join(f"{2 * i},,{loss}\n" for i, loss in enumerate(losses))
    (run / "metrics.csv").write_text(f"step,embedding/norm,val/loss\n{lines}")


def show(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)


def test_the_toy_and_the_seed_do_not_count(tmp_path):
    """Toys differ by far more than methods do; the pairs differ by .1 and .3, whatever else there is."""
    one = sweep(tmp_path / "a", [("plain", "<cat>", 0, 0.1), ("cross", "<cat>", 0, 0.2), ("cross", "<cat>", 1, None)])
    two = sweep(tmp_path / "b", [("cross", "<dog>", 0, 0.9), ("plain", "<dog>", 0, 0.6), ("plain", "<dog>", 7, 0.6)])
    done = show(one, two)
    assert done.returncode == 0, done.stderr
    head, _, plain, cross = done.stdout.strip().splitlines()
    assert head.startswith("| method | toys | pairs | recovery | against it |")
    assert plain.startswith("| plain | 2 | 3 | 0.43 |  |")
    assert cross.startswith("| cross | 2 | 2 | 0.55 | +0.20 (-1.07 to +1.47) |")
    assert cross.endswith("| 1.0 | +0.0 (+0.0 to +0.0) |  |  |  |  |  |  |"), "what older runs do not tell is left out"


def test_seeds_of_one_toy_do_not_count_as_other_toys(tmp_path):
    """The cat gains .1 and .3, the dog .4: two toys that gain .2 and .4. The cat alone is two seeds."""
    cat = [("plain", "<cat>", 0, 0.1), ("cross", "<cat>", 0, 0.2)]
    cat += [("plain", "<cat>", 1, 0.2), ("cross", "<cat>", 1, 0.5)]
    dog = [("plain", "<dog>", 2, 0.3), ("cross", "<dog>", 2, 0.7)]
    alone, both = (show(sweep(tmp_path / name, rows)) for name, rows in (("a", cat), ("b", [*cat, *dog])))
    assert "| cross | 1 | 2 | 0.35 | +0.20 (-1.07 to +1.47) |" in alone.stdout
    assert "| cross | 2 | 3 | 0.47 | +0.30 (-0.97 to +1.57) |" in both.stdout


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


def test_the_plateau_is_where_the_loss_comes_to_stay_near_its_end():
    """The fall is from 2 to 1, so that within 0.05 of 1 is near: 30 is near, but 40 is not."""
    curve = [(10, 2.0), (20, 1.2), (30, 1.04), (40, 1.06), (50, 0.96), (60, 1.03), (70, 1.0)]
    assert paired["plateau"](curve) == 50
    assert paired["plateau"](curve, share=0.1) == 30
    assert paired["plateau"]([(10 * i, 1 - i / 100) for i in range(10)]) == 90, "falls to the end"


def test_there_is_no_plateau_where_there_are_few_numbers_or_the_loss_did_not_fall():
    flat = [(step, 1.0) for step in range(6)]
    falling = [(step, 1.0 if step else 2.0) for step in range(6)]
    assert paired["plateau"](falling) == 1
    assert [paired["plateau"](curve) for curve in (falling[:5], flat, list(reversed(falling)), [])] == [None] * 4


def test_costs_are_ratios_to_the_same_toy_and_seed(tmp_path):
    """Twice and eight times as long a step: four times in the mean, though one toy takes ten times the other's time."""
    toys = [(method, toy, 0, 0.5) for toy in ("<cat>", "<dog>") for method in ("plain", "cross")]
    folder = sweep(tmp_path / "a", [*toys, ("old", "<cat>", 0, 0.5)])
    sooner, later = (2, 1, 1, 1, 1, 1), (2, 2, 1.5, 1, 1, 1)
    for point, (cpu, losses) in enumerate([(4, sooner), (8, later), (40, sooner), (320, sooner)]):
        told(folder / str(point), cpu=cpu, losses=losses)
    done = show(folder, "--columns", "steps", "s/step", "s to rest")
    assert done.returncode == 0, done.stderr
    head, _, plain, cross, old = [[cell.strip() for cell in line.split("|")] for line in done.stdout.splitlines()]
    names = [cell for name in ("steps", "s/step", "s to rest") for cell in (name, "against it")]
    assert head[1:-1] == ["method", "toys", "pairs", *names]
    assert plain[1:-1] == ["plain", "2", "2", "2", "", "5.500", "", "11", ""]
    assert [cell.partition(" (")[0] for cell in cross[4:-1]] == ["4", "x 1.73", "41.000", "x 4.00", "86", "x 6.93"]
    assert old[1:-1] == ["old", "1", "1", "", "", "", "", "", ""]


def test_a_run_that_went_on_counts_the_steps_of_its_last_session():
    card = {"result": {"steps": 30}, "resumed_at": 20, "cpu_seconds": {"training": 5.0}}
    assert paired["step_seconds"](card) == 0.5
    assert paired["step_seconds"]({"result": {"steps": 30}, "seconds": {"training": 5.0}}) is None


@pytest.mark.slow
def test_the_files_of_a_real_study_have_all_of_it(tmp_path):
    """Two methods, a few steps each, measured: every column has a number, the costs, too."""
    root = SCRIPT.parents[1]
    words = ["-m", f"--config-dir={root / 'sweep'}", "+study=methods", "concept.name=lime_cat", "seed=0"]
    words += ["+method=plain,negative", "trainer.max_steps=12", "trainer.val_check_interval=2", "data.batch_size=1"]
    words += ["data.val_draws=2", "~callbacks.samples", "optimizer.lr=1e-3", f"paths.root_dir={tmp_path}"]
    for command in (
        [root / "train.py", *words],
        ["-m", "tinv.toybox.toybench.fidelity", "--seeds", "0", "--steps", "1"],
    ):
        command += tmp_path.glob("study_methods/*")
        done = subprocess.run([sys.executable, *map(str, command)], cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("study_methods/*")
    done = show(folder)
    assert done.returncode == 0, done.stderr
    _, _, plain, negative = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    assert all(plain[3::2]), plain
    assert all(negative), negative
    (times,) = (cell for name, cell in zip(COLUMNS, negative[4::2], strict=True) if name == "s/step")
    assert float(times.removeprefix("x ")) > 1.3, "two passes of text encoder and U-Net"


def test_what_is_kept_can_be_read_again_and_grows(tmp_path):
    one = sweep(tmp_path / "a", [("plain", "<cat>", 0, 0.1), ("cross", "<cat>", 0, 0.2)])
    two = sweep(tmp_path / "b", [("plain", "<dog>", 1, 0.6), ("cross", "<dog>", 1, 0.9)])
    file = tmp_path / "results" / "kept.jsonl"
    assert show(one, "--keep", file).returncode == 0
    both = show(one, two)
    grown = show(two, file, "--keep", file)
    assert grown.stdout == both.stdout == show(file).stdout
    assert len(file.read_text().splitlines()) == 4


def test_what_was_measured_again_replaces_what_is_kept(tmp_path):
    file = tmp_path / "kept.jsonl"
    for name, recovery in (("a", 0.1), ("b", 0.7)):
        show(sweep(tmp_path / name, [("plain", "<cat>", 0, recovery)]), "--keep", file)
    assert [json.loads(line)["recovery"] for line in file.read_text().splitlines()] == [0.7]
