"""A sweep through the front run_main: every point is run, told of, and taken up again where that is needed."""

import csv
import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from tinv.errors import UserError
from tinv.runs.status import Progress
from tinv.sweeps.results import lock_folder

CAT = "+experiment=cat_toy"


def failing(*seeds):
    """A run that fails for some seeds; `failing(...).seen` is what it was called with."""

    def train(cfg):
        train.seen.append(cfg.seed)
        if cfg.seed in seeds:
            raise UserError(f"seed {cfg.seed} is unlucky")
        return cfg.seed / 10

    train.seen = []
    return train


def sweep_of(tmp_path: Path, name: str = "cat_toy") -> Path:
    (found,) = (tmp_path / "outputs" / name).iterdir()
    return found


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(folder: Path, name: str) -> list[str]:
    return [row[name] for row in table(folder)]


def test_the_table_tells_of_every_point_in_three_forms(run_main, tmp_path):
    on_disk, run = [], failing(2)

    def train(cfg):
        on_disk.append(column(Path(cfg.paths.output_dir).parent, "status"))
        return run(cfg)

    said = run_main("-m", CAT, "seed=1,2", "optimizer.lr=1e-3,5e-3", train=train)
    folder = sweep_of(tmp_path)
    assert on_disk[:3] == [["waiting"] * 4, ["done", *["waiting"] * 3], ["done", "done", "waiting", "waiting"]]
    rows = table(folder)
    assert [(r["point"], r["seed"], r["optimizer.lr"], r["status"], r["val/loss"]) for r in rows] == [
        ("0", "1", "0.001", "done", "0.1"),
        ("1", "1", "0.005", "done", "0.1"),
        ("2", "2", "0.001", "failed", ""),
        ("3", "2", "0.005", "failed", ""),
    ]
    kept = json.loads((folder / "sweep.json").read_text())
    assert kept["monitor"] == "val/loss"
    assert kept["points"][1] | {"seconds": 0} == {
        "point": 1,
        "swept": {"seed": "1", "optimizer.lr": "0.005"},
        "status": "done",
        "value": 0.1,
        "seconds": 0,
        "folder": "1",
        "reason": None,
        "steps": None,
    }
    assert re.search(r"^point  seed  lr     status  val/loss  time  folder$", said.out, flags=re.MULTILINE)
    assert re.search(rf"^3      2     0.005  failed\s+\S+s\s+outputs/cat_toy/{folder.name}/3$", said.out, re.MULTILINE)
    assert "point 3 (seed=2 lr=0.005): seed 2 is unlucky" in said.err, "when it happens"
    assert "2 of 4 points failed:\n  point 2 (seed=2 lr=0.001) and 1 more: seed 2 is unlucky" in said.err, "at the end"
    assert said.code == 1


def test_the_table_shows_how_many_steps_a_run_made_where_runs_say_so(run_main, tmp_path):
    def train(cfg):
        progress = Progress(100 + cfg.seed, 400, 1.0, None, None, "2026-11-22T20:00:00Z")
        (Path(cfg.paths.output_dir) / "progress.json").write_text(json.dumps(asdict(progress)))
        return 0.5

    said = run_main("-m", CAT, "seed=1,2", train=train)
    assert column(sweep_of(tmp_path), "steps") == ["101", "102"]
    assert re.search(r"^point  seed  status  val/loss  steps  time  folder$", said.out, flags=re.MULTILINE)
    assert re.search(r"^1      2     done    0\.5       102    \S+s", said.out, flags=re.MULTILINE)


def test_on_failure_stop_starts_no_more(run_main, tmp_path):
    train = failing(2)
    said = run_main("-m", CAT, "seed=1,2,3,4", "sweep.on_failure=stop", train=train)
    assert train.seen == [1, 2]
    assert column(sweep_of(tmp_path), "status") == ["done", "failed", "waiting", "waiting"]
    assert (said.code, "1 of 4 points failed, 2 not run" in said.err) == (1, True)
    assert not (sweep_of(tmp_path) / "2").exists()


def test_the_others_go_on_after_a_defect_of_ours_and_a_loss_that_is_no_number(run_main, tmp_path):
    def train(cfg):
        if cfg.seed == 1:
            raise IndexError("list index out of range")
        return float("nan") if cfg.seed == 2 else 0.0

    said = run_main("-m", CAT, "seed=1,2,3", train=train)
    assert "in train" in said.err, "the traceback"
    kept = json.loads((sweep_of(tmp_path) / "sweep.json").read_text())["points"]
    assert [(row["status"], row["value"], row["reason"]) for row in kept] == [
        ("failed", None, "IndexError: list index out of range"),
        ("done", None, "ended with nan"),
        ("done", 0.0, None),
    ]


def test_folders_are_numbers_in_one_place_whatever_is_swept(run_main, tmp_path):
    swept = ["+experiment=cat_toy,robot", f"tags=['a/b, c: d'],[{'x' * 300}]", "name=any"]
    said = run_main("-m", *swept, train=failing())
    assert (said.code, said.err) == (0, "")
    assert sorted(path.name for path in sweep_of(tmp_path, "any").iterdir() if path.is_dir()) == ["0", "1", "2", "3"]


# --- taken up again ---------------------------------------------------------------------------------------------------


def test_what_is_not_done_is_run_again_under_the_same_numbers_and_new_values_after_them(run_main, tmp_path):
    run_main("-m", CAT, "seed=1,2,3", train=failing(1, 3))
    folder = sweep_of(tmp_path)
    before = (folder / "1" / "status.json").stat().st_mtime_ns
    again = failing()
    others = ["tags=[again]", "sweep.on_failure=stop", "paths.root_dir=elsewhere"]  # no part of what a point is
    said = run_main("-m", CAT, "seed=0,1,2,3", *others, f"sweep.resume={folder}", train=again)
    assert (said.code, again.seen) == (0, [1, 3, 0])
    assert column(folder, "seed") == ["1", "2", "3", "0"]
    assert column(folder, "status") == ["done"] * 4
    assert (folder / "1" / "status.json").stat().st_mtime_ns == before
    assert (sweep_of(tmp_path), (tmp_path / "elsewhere").exists()) == (folder, False)


@pytest.mark.slow
def test_an_interrupted_study_goes_on_by_its_folder_alone(run_main, tmp_path):
    (tmp_path / "mine" / "study").mkdir(parents=True)
    text = "# @package _global_\nname: mine\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '4,5,6'}}}\n"
    (tmp_path / "mine" / "study" / "seeds.yaml").write_text(text)

    def interrupted(cfg):
        if cfg.seed == 5:
            (Path(cfg.paths.output_dir) / "checkpoints").mkdir()
            (Path(cfg.paths.output_dir) / "checkpoints" / "step_000500.ckpt").touch()
            raise KeyboardInterrupt
        return 0.0

    said = run_main("--config-dir", "mine", CAT, "+study=seeds", "optimizer.lr=1e-3", train=interrupted)
    folder, seen = sweep_of(tmp_path, "mine"), []
    assert (said.code, said.err.strip()) == (130, "interrupted")
    assert column(folder, "status") == ["done", "interrupted", "waiting"]
    assert "interrupted" in said.out, "in the table"
    said = run_main(f"sweep.resume={folder}", "sweep.dry_run=true")
    assert (said.code, "2 of 3 points to run" in said.out) == (0, True)
    assert re.search(rf"^1 +5 +waiting +{folder}/1$", said.out, flags=re.MULTILINE)

    def train(cfg):
        seen.append((cfg.seed, cfg.optimizer.lr, cfg.resume))
        return 0.0

    assert run_main(f"sweep.resume={folder}", train=train).code == 0
    assert seen == [(5, 1e-3, str(folder / "1")), (6, 1e-3, None)], "the one with a checkpoint goes on from it"


@pytest.mark.slow
def test_only_the_same_sweep_is_taken_up_and_by_one_process(run_main, tmp_path):
    run_main("-m", CAT, "seed=1,2", "optimizer.lr=5e-3", train=failing(1, 2))
    folder, again = sweep_of(tmp_path), failing()
    for argv, expected in (
        (
            ["seed=1,2", f"sweep.resume={folder}", "optimizer.lr=2e-3"],
            "optimizer.lr was 0.005 and is 0.002. Set the old values",
        ),
        (["embedding.num_vectors=1,2", f"sweep.resume={folder}"], "has none of these points; it swept seed"),
        (["seed=1,2", "sweep.resume=nowhere"], "sweep.resume=nowhere: the folder does not exist"),
        (["seed=1,2", f"hydra.sweep.dir={folder}"], "holds a sweep already"),
    ):
        said = run_main("-m", CAT, *argv, train=again)
        assert (said.code, again.seen, len(said.err.strip().splitlines())) == (1, [], 1), said.err
        assert expected in said.err
    with lock_folder(folder):
        said = run_main(f"sweep.resume={folder}", train=again)
    assert (said.code, again.seen, "another process runs this sweep" in said.err) == (1, [], True)


# --- looked at before it runs -----------------------------------------------------------------------------------------


def test_a_dry_run_lists_the_points_and_makes_nothing(run_main, tmp_path):
    train = failing()
    said = run_main("-m", CAT, "seed=1,2", "loss=mse,min_snr", "sweep.dry_run=true", train=train)
    assert (said.code, said.err, train.seen, list(tmp_path.iterdir())) == (0, "", [], [])
    assert "4 of 4 points to run" in said.out
    assert re.search(r"^1 +1 +min_snr +waiting +outputs/cat_toy/<time>/1$", said.out, flags=re.MULTILINE)
    assert re.search(r"^point 1 \(seed=1 loss=min_snr\) also has loss\.\w+=", said.out, flags=re.MULTILINE)


def test_a_dry_run_finds_what_is_wrong_only_where_two_values_meet(run_main, tmp_path):
    (tmp_path / "mine" / "loss").mkdir(parents=True)
    text = "_target_: tinv.diffusion.loss.DiffusionLoss\nsnr_gamma: ${oc.decode:${name}}\n"
    (tmp_path / "mine" / "loss" / "as_named.yaml").write_text(text)
    swept = ["loss=mse,as_named", "name=a,'1=2'"]
    said = run_main("-m", "--config-dir=mine", CAT, *swept, "sweep.dry_run=true")
    assert (said.code, said.out) == (1, "")
    assert "point 3 (loss=as_named name='1=2'): loss.snr_gamma: " in said.err
    assert said.err.count("point") == 1


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["optimizer.lr=1e-3,fast"], "optimizer.lr: must be float, got 'fast'"),
        (["optimizer.lr=interval(1e-4,1e-2)"], "a grid cannot sweep an interval"),
        (["sweep.on_failure=perhaps", "sweep.dry_rum=1"], "sweep.dry_rum=1: there is no sweep.dry_rum (did you mean"),
        (
            ["hydra/launcher=gpus", "hydra.launcher.n_jobs=many"],
            "hydra.launcher.n_jobs: must be int or null, got 'many'",
        ),
        (["hydra/launcher=gpus", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs must be 1 or more, got 0"),
        (["sweep.on_failure=perhaps"], "sweep.on_failure: must be continue or stop, got 'perhaps'"),
    ],
)
def test_what_cannot_be_swept_is_said_before_any_point_is_run(run_main, tmp_path, argv, expected):
    train = failing()
    said = run_main("-m", CAT, "seed=1,2", *argv, train=train)
    assert (said.code, train.seen, list(tmp_path.iterdir())) == (1, [], [])
    assert expected in said.err
    assert "Traceback" not in said.err


# --- when the disk is full --------------------------------------------------------------------------------------------


def test_a_table_that_cannot_be_written_does_not_end_the_sweep(run_main, tmp_path):
    def train(cfg):
        sweep = Path(cfg.paths.output_dir).parent
        if (sweep / "sweep.csv").is_file():
            (sweep / "sweep.csv").unlink()
            (sweep / "sweep.csv").mkdir()
        return 0.25

    said = run_main("-m", CAT, "seed=1,2", train=train)
    assert said.code == 0
    assert said.err.count("cannot write") == 1
    assert said.out.count("0.25") == 2, "the table is printed in any case"
