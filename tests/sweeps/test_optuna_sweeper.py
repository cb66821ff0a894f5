"""Sweeps with hydra/sweeper=optuna."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweeps.outputs import column, sweep_dir
from tests.sweeps.tiny_runs import TINY, write_tiny
from tinv.errors import UserError
from tinv.runs.trial import OptunaTrialRef
from tinv.sweeps.optuna_sweeper import JOURNAL

ROOT = Path(__file__).resolve().parents[2]
SEARCH = ["-m", "+experiment=cat_toy", "hydra/sweeper=optuna", "optimizer.lr=tag(log, interval(1e-4, 1e-1))"]


def valley(cfg):
    """Returns the distance of the learning rate from 1e-2."""
    valley.seen.append(cfg.optimizer.lr)
    return abs(cfg.optimizer.lr - 1e-2)


valley.seen = []


def states(folder: Path, name: str = "cat_toy") -> list[str]:
    trials = OptunaTrialRef(str(folder / JOURNAL), name).open().get_trials(deepcopy=False)
    return [trial.state.name for trial in trials]


@pytest.mark.slow
def test_a_resumed_search_replaces_a_failed_trial(run_main, tmp_path):
    valley.seen.clear()

    def train(cfg):
        if len(valley.seen) == 1:
            valley.seen.append(None)
            raise UserError("the second trial is unlucky")
        return valley(cfg)

    result = run_main(*SEARCH, "hydra.sweeper.n_trials=3", train=train)
    folder = sweep_dir(tmp_path)
    assert (result.code, "1 of 3 points failed" in result.err) == (1, True)
    assert column(folder, "status") == ["done", "failed", "done"]
    assert states(folder) == ["COMPLETE", "FAIL", "COMPLETE"]
    result = run_main(f"sweep.resume={folder}", train=valley)
    assert result.code == 0, result.err
    assert states(folder) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert column(folder, "status") == ["done", "failed", "done", "done"]
    assert {path.name for path in (folder / "plots").iterdir()} >= {"optimization_history.png", "slice.png"}


def test_a_resumed_search_continues_an_interrupted_trial(run_main, tmp_path):
    def interrupted(cfg):
        raise KeyboardInterrupt

    result = run_main(*SEARCH, "hydra.sweeper.n_trials=1", train=interrupted)
    folder = sweep_dir(tmp_path)
    assert (result.code, states(folder)) == (130, ["RUNNING"])
    valley.seen.clear()
    assert run_main(f"sweep.resume={folder}", train=valley).code == 0
    assert (states(folder), column(folder, "status"), column(folder, "point")) == (["COMPLETE"], ["done"], ["0"])
    trial = OptunaTrialRef(str(folder / JOURNAL), "cat_toy").open().trials[0]
    assert valley.seen == [trial.params["optimizer.lr"]], "exactly as in the study"


@pytest.mark.slow
def test_a_search_approaches_the_minimum_and_is_reproducible(run_main, tmp_path):
    searches = []
    for name in ("first", "second"):
        valley.seen.clear()
        result = run_main(*SEARCH, f"name={name}", "hydra.sweeper.n_trials=16", train=valley)
        searches.append(list(valley.seen))
        best = searches[-1].index(min(searches[-1], key=lambda lr: abs(lr - 1e-2)))
        assert (result.code, f"the best is point {best} (lr=" in result.out) == (0, True)
    assert searches[0] == searches[1]
    assert len(set(searches[0])) == 16
    late, early = searches[0][-4:], searches[0][:4]
    assert sum(abs(lr - 1e-2) for lr in late) < sum(abs(lr - 1e-2) for lr in early)


@pytest.mark.slow
def test_every_kind_of_sweep_can_be_searched(run_main, tmp_path):
    seen = []
    swept = [
        "embedding.num_vectors=choice(1,2,4)",
        "seed=range(0,9,2)",
        "optimizer.weight_decay=interval(0,0.1)",
        "data.batch_size=int(interval(1,4))",
        "loss=mse,min_snr",
        "tags=[a]",
    ]
    options = ["hydra.sweeper.n_trials=3", "hydra.sweeper.sampler=random"]
    result = run_main(*SEARCH[:3], *swept, *options, train=lambda cfg: seen.append(cfg) or 0.0)
    assert result.code == 0, result.err
    for cfg in seen:
        assert cfg.embedding.num_vectors in (1, 2, 4) and cfg.seed in (0, 2, 4, 6, 8)
        assert 0 <= cfg.optimizer.weight_decay <= 0.1 and cfg.data.batch_size in (1, 2, 3, 4)
    assert len({cfg.optimizer.weight_decay for cfg in seen}) == 3
    assert len(column(sweep_dir(tmp_path), "loss")) == 3


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([*SEARCH[:3]], "nothing to search"),
        ([*SEARCH, "hydra.sweeper.pruner=mean"], "hydra.sweeper.pruner='mean': must be median or none"),
        ([*SEARCH, "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: must be 1 or more"),
        ([*SEARCH, "monitor=null"], "monitor=null: hydra/sweeper=optuna needs a number"),
        ([*SEARCH[:3], "optimizer.lr=tag(log, interval(0, 1))"], "Optuna cannot search this"),
    ],
)
def test_a_wrong_search_is_an_error_before_the_first_point(run_main, tmp_path, argv, expected):
    result = run_main(*argv, train=pytest.fail)
    assert (result.code, "Traceback" in result.err) == (1, False)
    assert expected in result.err
    assert not list(tmp_path.glob("outputs/*/*/*"))


def test_a_dry_run_prints_the_search_space(run_main, tmp_path):
    result = run_main(*SEARCH, "sweep.dry_run=true", train=pytest.fail)
    assert (result.code, list(tmp_path.iterdir())) == (0, [])
    assert "20 points will be chosen\n  optimizer.lr from tag(log, interval(1e-4, 1e-1))" in result.out


@pytest.mark.slow
def test_two_processes_share_a_study_and_prune_trials(tmp_path):
    write_tiny(tmp_path)
    command = [
        *[sys.executable, str(ROOT / "train.py"), "-m", "hydra/sweeper=optuna", "+debug=fast", "~callbacks.samples"],
        *[*TINY, "trainer=cpu", "name=shared", "optimizer.lr=1e-9,1", "trainer.max_steps=6"],
        *["hydra.sweeper.storage=study.journal", "hydra.sweeper.sampler=random", "hydra.sweeper.n_trials=8"],
        "hydra.sweeper.pruner_startup_trials=1",
        "hydra.sweeper.seed=10",  # draws five good trials, then three bad ones
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    runs = [subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for run in runs:
        assert run.wait(timeout=900) == 0, run.stderr.read()
        run.stderr.close()
    trials = OptunaTrialRef(str(tmp_path / "study.journal"), "shared").open().get_trials(deepcopy=False)
    assert {trial.state.name for trial in trials} == {"COMPLETE", "PRUNED"}
    assert len(trials) == 8
    folders = sorted((tmp_path / "outputs" / "shared").iterdir())
    assert len(folders) == 2
    points = [[int(number) for number in column(folder, "point")] for folder in folders]
    assert sorted(points[0] + points[1]) == list(range(8)), "each trial was run once"
    for folder in folders:
        for number, status in zip(column(folder, "point"), column(folder, "status")):
            assert status == {"COMPLETE": "done", "PRUNED": "pruned"}[trials[int(number)].state.name]
            assert (folder / number / "learned_embeds.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_search_on_several_devices_continues_after_a_killed_trial(tmp_path):
    stub = Path(__file__).with_name("stub.py")
    command = [sys.executable, str(stub), *SEARCH[:3], "seed=choice(0,3)", "hydra/launcher=gpus"]
    command += ["hydra.launcher.devices=[0,1]", "hydra.sweeper.n_trials=6", "hydra.sweeper.sampler=random"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=900, check=False)
    folder = sweep_dir(tmp_path)
    fate = {"0": "done", "1": "done", "3": "failed"}
    assert column(folder, "status") == [fate[seed] for seed in column(folder, "seed")]
    assert len(column(folder, "status")) == 6
    assert set(column(folder, "status")) == {"done", "failed"}
    assert done.returncode == 1
