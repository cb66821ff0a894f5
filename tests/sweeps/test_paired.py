"""sweep/paired.py compares runs of a study with the baseline's runs of the same toy and seed."""

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


def write_sweep(folder, rows):
    """Writes what a sweep and `tinv.toybox.toybench.fidelity` write: (method, toy, seed, recovery or None)."""
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


def write_costs(run, *, cpu, losses):
    """Writes the CPU seconds of 4 steps, and losses at every second step."""
    card = json.loads((run / "run.json").read_text())
    card |= {"result": {"steps": 4}, "cpu_seconds": {"training": cpu}}
    (run / "run.json").write_text(json.dumps(card))
    lines = "".join(f"{2 * i},,{loss}\n" for i, loss in enumerate(losses))
    (run / "metrics.csv").write_text(f"step,embedding/norm,val/loss\n{lines}")


def run_script(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)


def cells(output):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in output.strip().splitlines()]


def test_the_differences_are_of_pairs_with_the_same_toy_and_seed(tmp_path):
    """Toys differ more than methods: the pairs differ by 0.1 and 0.3."""
    cats = write_sweep(tmp_path / "a", [("plain", "<cat>", 0, 0.1), ("x", "<cat>", 0, 0.2), ("x", "<cat>", 1, None)])
    dogs = write_sweep(tmp_path / "b", [("x", "<dog>", 0, 0.9), ("plain", "<dog>", 0, 0.6), ("plain", "<dog>", 7, 0.6)])
    result = run_script(cats, dogs)
    assert result.returncode == 0, result.stderr
    head, _, plain, method = cells(result.stdout)
    assert head[:5] == ["method", "toys", "pairs", "recovery", "against plain"]
    assert plain[:5] == ["plain", "2", "3", "0.43", ""]
    assert method[:5] == ["x", "2", "2", "0.55", "+0.20 (-1.07 to +1.47)"]
    assert method[-8:] == ["1.0", "+0.0 (+0.0 to +0.0)", "", "", "", "", "", ""], "runs without costs"


def test_the_seeds_of_a_toy_are_averaged_unless_it_is_the_only_toy(tmp_path):
    """The cat gains 0.1 and 0.3, the dog 0.4: two toys that gain 0.2 and 0.4. The cat alone is two seeds."""
    cat = [("plain", "<cat>", 0, 0.1), ("x", "<cat>", 0, 0.2), ("plain", "<cat>", 1, 0.2), ("x", "<cat>", 1, 0.5)]
    dog = [("plain", "<dog>", 2, 0.3), ("x", "<dog>", 2, 0.7)]
    single, two = (run_script(write_sweep(tmp_path / name, rows)) for name, rows in (("a", cat), ("b", [*cat, *dog])))
    assert "| x | 1 | 2 | 0.35 | +0.20 (-1.07 to +1.47) |" in single.stdout
    assert "| x | 2 | 3 | 0.47 | +0.30 (-0.97 to +1.57) |" in two.stdout


def test_the_intervals_are_those_of_students_t():
    """scipy.stats.ttest_1samp([.1, .2, .4, .3], 0).confidence_interval() is (.0446, .4554)."""
    low, high = re.findall(r"[+-][\d.]+", paired["difference"]([0.1, 0.2, 0.4, 0.3], 4))[1:]
    assert float(low) == pytest.approx(0.0446, abs=3e-4)
    assert float(high) == pytest.approx(0.4554, abs=3e-4)
    assert paired["difference"]([0.25], 2) == "+0.25"


def test_a_missing_baseline_is_an_error(tmp_path):
    result = run_script(write_sweep(tmp_path / "a", [("x", "<cat>", 0, 0.2)]))
    assert result.returncode == 2
    assert "no evaluated run has method=plain. Found: x." in result.stderr


FALLING = [(step, 1.0 if step else 2.0) for step in range(6)]
CURVE = [(10, 2.0), (20, 1.2), (30, 1.04), (40, 1.06), (50, 0.96), (60, 1.03), (70, 1.0)]


@pytest.mark.parametrize(
    ("curve", "options", "step"),
    [
        pytest.param(CURVE, {}, 50, id="the loss at 40 is more than 5 % of the fall away from the end"),
        (CURVE, {"share": 0.1}, 30),
        pytest.param([(10 * i, 1 - i / 100) for i in range(10)], {}, 90, id="falls to the end"),
        (FALLING, {}, 1),
        pytest.param(FALLING[:5], {}, None, id="too few"),
        pytest.param([(step, 1.0) for step in range(6)], {}, None, id="flat"),
        pytest.param(FALLING[::-1], {}, None, id="rising"),
        ([], {}, None),
    ],
)
def test_the_plateau_begins_where_the_loss_stays_near_its_end(curve, options, step):
    assert paired["plateau"](curve, **options) == step


def test_costs_are_ratios_of_pairs(tmp_path):
    """A step takes twice and eight times as long: 4 times in the geometric mean, though one toy is 10 times slower."""
    toys = [(method, toy, 0, 0.5) for toy in ("<cat>", "<dog>") for method in ("plain", "x")]
    folder = write_sweep(tmp_path / "a", [*toys, ("old", "<cat>", 0, 0.5)])
    early, late = (2, 1, 1, 1, 1, 1), (2, 2, 1.5, 1, 1, 1)
    for point, (cpu, losses) in enumerate([(4, early), (8, late), (40, early), (320, early)]):
        write_costs(folder / str(point), cpu=cpu, losses=losses)
    result = run_script(folder, "--columns", "steps", "s/step", "s to plateau")
    assert result.returncode == 0, result.stderr
    head, _, plain, method, old = cells(result.stdout)
    names = [cell for name in ("steps", "s/step", "s to plateau") for cell in (name, "against plain")]
    assert head == ["method", "toys", "pairs", *names]
    assert plain == ["plain", "2", "2", "2", "", "5.500", "", "11", ""]
    assert [cell.partition(" (")[0] for cell in method[3:]] == ["4", "x 1.73", "41.000", "x 4.00", "86", "x 6.93"]
    assert old == ["old", "1", "1", "", "", "", "", "", ""]


def test_a_resumed_run_counts_the_steps_of_its_last_session():
    card = {"result": {"steps": 30}, "resumed_at": 20, "cpu_seconds": {"training": 5.0}}
    assert paired["step_seconds"](card) == 0.5
    assert paired["step_seconds"]({"result": {"steps": 30}, "seconds": {"training": 5.0}}) is None


@pytest.mark.slow
def test_every_column_of_a_real_study_has_a_number(tmp_path):
    root = SCRIPT.parents[1]
    train = [root / "train.py", "-m", f"--config-dir={root / 'sweep'}", "+study=methods", "concept.name=lime_cat"]
    train += ["seed=0", "+method=plain,negative", "trainer.max_steps=12", "trainer.val_check_interval=2"]
    train += ["data.batch_size=1", "data.val_draws=2", "~callbacks.samples", "optimizer.lr=1e-3"]
    evaluate = ["-m", "tinv.toybox.toybench.fidelity", "--seeds", "0", "--num-inference-steps", "1"]
    for command in ([*train, f"paths.root_dir={tmp_path}"], evaluate):
        command += tmp_path.glob("study_methods/*")
        done = subprocess.run([sys.executable, *map(str, command)], cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("study_methods/*")
    result = run_script(folder)
    assert result.returncode == 0, result.stderr
    _, _, plain, negative = cells(result.stdout)
    assert all(plain[3::2]), plain
    assert all(negative), negative
    (cost,) = (cell for name, cell in zip(COLUMNS, negative[4::2], strict=True) if name == "s/step")
    assert float(cost.removeprefix("x ")) > 1.3, "two passes of text encoder and U-Net"


def test_saved_runs_are_read_like_a_sweep_and_added_to(tmp_path):
    cats = write_sweep(tmp_path / "a", [("plain", "<cat>", 0, 0.1), ("x", "<cat>", 0, 0.2)])
    dogs = write_sweep(tmp_path / "b", [("plain", "<dog>", 1, 0.6), ("x", "<dog>", 1, 0.9)])
    file = tmp_path / "results" / "saved.jsonl"
    assert run_script(cats, "--keep", file).returncode == 0
    expected = run_script(cats, dogs).stdout
    assert run_script(dogs, file, "--keep", file).stdout == expected == run_script(file).stdout
    assert len(file.read_text().splitlines()) == 4


def test_a_new_evaluation_replaces_the_saved_one(tmp_path):
    file = tmp_path / "saved.jsonl"
    for name, recovery in (("a", 0.1), ("b", 0.7)):
        run_script(write_sweep(tmp_path / name, [("plain", "<cat>", 0, recovery)]), "--keep", file)
    assert [json.loads(line)["recovery"] for line in file.read_text().splitlines()] == [0.7]
