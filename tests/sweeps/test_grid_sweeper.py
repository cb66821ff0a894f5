"""Sweeps with hydra/sweeper=grid: results, failures, resuming and dry runs."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.checkpoint_files import write_checkpoint
from tests.sweeps.outputs import column, sweep_dir, table
from tinv.errors import UserError
from tinv.runs.folder_lock import lock_folder
from tinv.runs.status import Progress

CAT = "+experiment=cat_toy"


def failing(*seeds):
    """Returns a run that fails for some seeds; its `seen` lists the seeds of all calls."""

    def train(cfg):
        train.seen.append(cfg.seed)
        if cfg.seed in seeds:
            raise UserError(f"seed {cfg.seed} is unlucky")
        return cfg.seed / 10

    train.seen = []
    return train


def test_every_point_is_in_the_csv_the_json_and_the_printed_table(run_main, tmp_path):
    statuses, run = [], failing(2)

    def train(cfg):
        statuses.append(column(Path(cfg.paths.output_dir).parent, "status"))
        return run(cfg)

    result = run_main("-m", CAT, "seed=1,2", "optimizer.lr=1e-3,5e-3", train=train)
    folder = sweep_dir(tmp_path)
    assert statuses[:3] == [["waiting"] * 4, ["done", *["waiting"] * 3], ["done", "done", "waiting", "waiting"]]
    assert [(r["point"], r["seed"], r["optimizer.lr"], r["status"], r["val/loss"]) for r in table(folder)] == [
        ("0", "1", "0.001", "done", "0.1"),
        ("1", "1", "0.005", "done", "0.1"),
        ("2", "2", "0.001", "failed", ""),
        ("3", "2", "0.005", "failed", ""),
    ]
    saved = json.loads((folder / "sweep.json").read_text())
    assert saved["monitor"] == "val/loss"
    assert saved["points"][1] | {"seconds": 0} == {
        "point": 1,
        "swept": {"seed": "1", "optimizer.lr": "0.005"},
        "status": "done",
        "value": 0.1,
        "seconds": 0,
        "folder": "1",
        "reason": None,
        "steps": None,
    }
    assert re.search(r"^point  seed  lr     status  val/loss  time  folder$", result.out, re.MULTILINE)
    assert re.search(
        rf"^3      2     0.005  failed\s+\S+s\s+outputs/cat_toy/{folder.name}/3$", result.out, re.MULTILINE
    )
    assert "point 3 (seed=2 lr=0.005): seed 2 is unlucky" in result.err, "when it happens"
    assert "2 of 4 points failed:\n  point 2 (seed=2 lr=0.001) and 1 more: seed 2 is unlucky" in result.err, (
        "at the end"
    )
    assert result.code == 1


def test_the_table_has_the_steps_of_runs_that_write_their_progress(run_main, tmp_path):
    def train(cfg):
        progress = Progress(100 + cfg.seed, 400, 1.0, None, None, "2026-11-22T20:00:00Z")
        (Path(cfg.paths.output_dir) / "progress.json").write_text(json.dumps(asdict(progress)))
        return 0.5

    result = run_main("-m", CAT, "seed=1,2", train=train)
    assert column(sweep_dir(tmp_path), "steps") == ["101", "102"]
    assert re.search(r"^point  seed  status  val/loss  steps  time  folder$", result.out, re.MULTILINE)
    assert re.search(r"^1      2     done    0\.5       102    \S+s", result.out, re.MULTILINE)


def test_on_failure_stop_starts_no_more_points(run_main, tmp_path):
    train = failing(2)
    result = run_main("-m", CAT, "seed=1,2,3,4", "sweep.on_failure=stop", train=train)
    assert train.seen == [1, 2]
    assert column(sweep_dir(tmp_path), "status") == ["done", "failed", "waiting", "waiting"]
    assert (result.code, "1 of 4 points failed, 2 not run" in result.err) == (1, True)
    assert not (sweep_dir(tmp_path) / "2").exists()


def test_other_points_run_after_an_unexpected_error_and_after_a_nan(run_main, tmp_path):
    def train(cfg):
        if cfg.seed == 1:
            raise IndexError("list index out of range")
        return float("nan") if cfg.seed == 2 else 0.0

    result = run_main("-m", CAT, "seed=1,2,3", train=train)
    assert "in train" in result.err, "the traceback"
    points = json.loads((sweep_dir(tmp_path) / "sweep.json").read_text())["points"]
    assert [(row["status"], row["value"], row["reason"]) for row in points] == [
        ("failed", None, "IndexError: list index out of range"),
        ("done", None, "ended with nan"),
        ("done", 0.0, None),
    ]


def test_the_folders_of_points_are_numbers_whatever_is_swept(run_main, tmp_path):
    swept = ["+experiment=cat_toy,robot", f"tags=['a/b, c: d'],[{'x' * 300}]", "name=any"]
    result = run_main("-m", *swept, train=failing())
    assert (result.code, result.err) == (0, "")
    assert sorted(path.name for path in sweep_dir(tmp_path, "any").iterdir() if path.is_dir()) == ["0", "1", "2", "3"]


def test_an_override_of_a_sweep_may_refer_to_the_runs_folder(run_main, tmp_path):
    folders = []
    override = "callbacks.export.dir=${paths.output_dir}"
    result = run_main("-m", CAT, "seed=1,2", override, train=lambda cfg: folders.append(cfg.callbacks.export.dir))
    assert result.code == 0, result.err
    assert [Path(folder).name for folder in folders] == ["0", "1"]


def test_a_resumed_sweep_runs_what_is_left_under_the_old_numbers_and_numbers_new_points_after_them(run_main, tmp_path):
    run_main("-m", CAT, "seed=1,2,3", train=failing(1, 3))
    folder = sweep_dir(tmp_path)
    before = (folder / "1" / "status.json").stat().st_mtime_ns
    train = failing()
    not_compared = ["tags=[again]", "sweep.on_failure=stop", "paths.root_dir=elsewhere"]
    result = run_main("-m", CAT, "seed=0,1,2,3", *not_compared, f"sweep.resume={folder}", train=train)
    assert (result.code, train.seen) == (0, [1, 3, 0])
    assert column(folder, "seed") == ["1", "2", "3", "0"]
    assert column(folder, "status") == ["done"] * 4
    assert (folder / "1" / "status.json").stat().st_mtime_ns == before
    assert (sweep_dir(tmp_path), (tmp_path / "elsewhere").exists()) == (folder, False)


@pytest.mark.slow
def test_an_interrupted_study_is_resumed_from_its_folder_alone(run_main, tmp_path):
    (tmp_path / "mine" / "study").mkdir(parents=True)
    text = "# @package _global_\nname: mine\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '4,5,6'}}}\n"
    (tmp_path / "mine" / "study" / "seeds.yaml").write_text(text)

    def interrupted(cfg):
        if cfg.seed == 5:
            write_checkpoint(Path(cfg.paths.output_dir) / "checkpoints" / "step_000500.ckpt")
            raise KeyboardInterrupt
        return 0.0

    result = run_main("--config-dir", "mine", CAT, "+study=seeds", "optimizer.lr=1e-3", train=interrupted)
    folder, seen = sweep_dir(tmp_path, "mine"), []
    assert result.code == 130
    assert result.err.strip() == f"interrupted by SIGINT; to go on: sweep.resume={folder.relative_to(tmp_path)}"
    assert column(folder, "status") == ["done", "interrupted", "waiting"]
    assert "interrupted" in result.out, "in the table"
    result = run_main(f"sweep.resume={folder}", "sweep.dry_run=true")
    assert (result.code, "2 of 3 points to run" in result.out) == (0, True)
    assert re.search(rf"^1 +5 +waiting +{folder}/1$", result.out, re.MULTILINE)

    def train(cfg):
        seen.append((cfg.seed, cfg.optimizer.lr, cfg.resume))
        return 0.0

    assert run_main(f"sweep.resume={folder}", train=train).code == 0
    assert seen == [(5, 1e-3, "auto"), (6, 1e-3, None)], "the first one resumes its checkpoint"


@pytest.mark.slow
def test_only_the_same_sweep_can_be_resumed_and_by_one_process(run_main, tmp_path):
    run_main("-m", CAT, "seed=1,2", "optimizer.lr=5e-3", train=failing(1, 2))
    folder, train = sweep_dir(tmp_path), failing()
    for argv, expected in (
        (
            ["seed=1,2", f"sweep.resume={folder}", "optimizer.lr=2e-3"],
            "optimizer.lr was 0.005 and is 0.002. Set the old",
        ),
        (["embedding.num_vectors=1,2", f"sweep.resume={folder}"], "has none of these points; it swept seed"),
        (["seed=1,2", "sweep.resume=nowhere"], "sweep.resume=nowhere: the folder does not exist"),
        (["seed=1,2", f"hydra.sweep.dir={folder}"], "holds a sweep already"),
    ):
        result = run_main("-m", CAT, *argv, train=train)
        assert (result.code, train.seen, len(result.err.strip().splitlines())) == (1, [], 1), result.err
        assert expected in result.err
    with lock_folder(folder, ""):
        result = run_main(f"sweep.resume={folder}", train=train)
    assert (result.code, train.seen, "another process runs this sweep" in result.err) == (1, [], True)


def test_a_dry_run_lists_the_points_and_writes_nothing(run_main, tmp_path):
    train = failing()
    result = run_main("-m", CAT, "seed=1,2", "loss=mse,min_snr", "sweep.dry_run=true", train=train)
    assert (result.code, result.err, train.seen, list(tmp_path.iterdir())) == (0, "", [], [])
    assert "4 of 4 points to run" in result.out
    assert re.search(r"^1 +1 +min_snr +waiting +outputs/cat_toy/<time>/1$", result.out, re.MULTILINE)
    assert re.search(r"^point 1 \(seed=1 loss=min_snr\) also has loss\.\w+=", result.out, re.MULTILINE)


@pytest.mark.parametrize("option", [["sweep.dry_run=true"], []])
def test_each_point_of_a_grid_is_composed_once(run_main, monkeypatch, option):
    from tinv.sweeps import plan

    flattened = []
    monkeypatch.setattr(plan, "flatten", lambda cfg: flattened.append((cfg.seed, cfg.optimizer.lr)) or {})
    assert run_main("-m", CAT, "seed=1,2", "optimizer.lr=1e-3,5e-3", *option, train=failing()).code == 0
    assert flattened == [(1, 1e-3), (1, 5e-3), (2, 1e-3), (2, 5e-3)]


def test_a_dry_run_finds_an_error_that_only_two_values_together_cause(run_main, tmp_path):
    (tmp_path / "mine" / "loss").mkdir(parents=True)
    text = "_target_: tinv.diffusion.loss.DiffusionLoss\nsnr_gamma: ${oc.decode:${name}}\n"
    (tmp_path / "mine" / "loss" / "as_named.yaml").write_text(text)
    swept = ["loss=mse,as_named", "name=a,'1=2'"]
    result = run_main("-m", "--config-dir=mine", CAT, *swept, "sweep.dry_run=true")
    assert (result.code, result.out) == (1, "")
    assert "point 3 (loss=as_named name='1=2'): loss.snr_gamma: " in result.err
    assert result.err.count("point") == 1


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["optimizer.lr=1e-3,fast"], "optimizer.lr='fast': must be float"),
        (["optimizer.lr=interval(1e-4,1e-2)"], "a grid cannot sweep an interval"),
        (["sweep.on_failure=perhaps", "sweep.dry_rum=1"], "sweep.dry_rum=1: there is no sweep.dry_rum (did you mean"),
        (
            ["hydra/launcher=gpus", "hydra.launcher.n_jobs=many"],
            "hydra.launcher.n_jobs='many': must be int or null",
        ),
        (["hydra/launcher=gpus", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs=0: must be 1 or more"),
        (["sweep.on_failure=perhaps"], "sweep.on_failure='perhaps': must be continue or stop"),
    ],
)
def test_a_wrong_sweep_is_an_error_before_the_first_point(run_main, tmp_path, argv, expected):
    train = failing()
    result = run_main("-m", CAT, "seed=1,2", *argv, train=train)
    assert (result.code, train.seen, list(tmp_path.iterdir())) == (1, [], [])
    assert expected in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"command": [CAT, "hydra.launcher.setup=[touch x]"]},
            "hydra.launcher.setup=['touch x']: a file may not set it",
        ),
        ({"command": [CAT, "paths.root_dir=/x,/y"]}, "paths.root_dir="),
        ({"command": [CAT, "+hydra.callbacks.x._target_=os.getcwd"]}, "os.getcwd is not on the list"),
        ({"command": [CAT, "--experimental-rerun=x"]}, "the command in plan.json has options"),
        ({"command": "x"}, "plan.json is damaged"),
        ({"config_dir": 3}, "plan.json is damaged"),
    ],
)
def test_a_plan_sets_no_more_than_a_configuration_file(run_main, tmp_path, changes, problem):
    plan = {"id": "x", "command": [CAT, "seed=1,2"], "config_dir": None, "settings": {}, "points": []}
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "plan.json").write_text(json.dumps({**plan, **changes}))
    result = run_main("sweep.resume=sweep")
    assert result.code == 1
    assert problem in result.err and "Traceback" not in result.err
    assert [path.name for path in tmp_path.rglob("*")] == ["sweep", "plan.json"]


def test_a_sweep_in_another_folder_for_outputs_resumes(run_main, tmp_path_factory):
    outputs = tmp_path_factory.mktemp("elsewhere") / "outputs"
    assert run_main("-m", CAT, "seed=1,2", f"paths.root_dir={outputs}", train=failing(2)).code == 1
    train = failing()
    assert run_main(f"sweep.resume={sweep_dir(outputs.parent)}", train=train).code == 0
    assert train.seen == [2]


def test_a_sweep_continues_when_its_table_cannot_be_written(run_main, tmp_path):
    def train(cfg):
        sweep = Path(cfg.paths.output_dir).parent
        if (sweep / "sweep.csv").is_file():
            (sweep / "sweep.csv").unlink()
            (sweep / "sweep.csv").mkdir()
        return 0.25

    result = run_main("-m", CAT, "seed=1,2", train=train)
    assert result.code == 0
    assert result.err.count("cannot write") == 1
    assert result.out.count("0.25") == 2, "in the printed table"
