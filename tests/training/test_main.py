"""The front door: what is typed either runs, or is answered at once with everything that is wrong with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig

from tinv.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CAT = "+experiment=cat_toy"


def test_a_run_gets_checked_settings_and_a_folder_of_its_own(door, tmp_path):
    seen = []
    said = door(CAT, "optimizer.lr=1e-3", train=seen.append)
    (cfg,) = seen
    assert (said.code, cfg.optimizer.lr) == (0, 1e-3)
    run = Path(cfg.paths.output_dir)
    assert run.parent == tmp_path / "outputs" / "cat_toy"
    assert yaml.safe_load((run / ".hydra" / "overrides.yaml").read_text()) == [CAT, "optimizer.lr=1e-3"]
    assert [path.name for path in (tmp_path / "outputs" / "cat_toy").iterdir()] == [run.name]


def test_the_run_folder_stays_the_same_however_often_it_is_asked_for(door):
    """Lightning asks for hydra.run.dir again when it starts further processes."""
    asked = []
    door(CAT, train=lambda cfg: asked.extend([cfg.paths.output_dir, os.path.abspath(HydraConfig.get().run.dir)]))
    assert asked[0] == asked[1]


def test_typing_nothing_is_answered_with_what_to_type(door, tmp_path):
    said = door()
    assert said.code == 1
    assert "python train.py +experiment=cat_toy" in said.err
    assert "sepia" in said.err and "sd15" not in said.err  # only what needs no download
    assert "data.folder" in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (
            ["+experiment=cat_toi", "optimizer=adamv", "optimizer.lrr=1", "embedding.num_vector=2", "+foo=1", "seed="],
            ["cat_toi", "adamw?", "optimizer.lr?", "embedding.num_vectors?", "foo", "seed: must be int, got ''"],
        ),
        ([CAT, "resume=latest"], ["resume=latest: there is no such checkpoint under outputs/cat_toy; no run under"]),
        ([CAT, "-m", "resume=latest", "seed=1,2"], ["resume=latest goes on with one run, -m starts several"]),
        ([CAT, "-m", "hub.push=true", "seed=1,2"], ["hub.push=true and -m", "tinv push RUN"]),
        ([CAT, "--config-dir", "nowhere"], ["--config-dir=nowhere: there is no such folder"]),
        ([CAT, "--cfg", "job", "optimizer=adamv"], ["there is no optimizer adamv (did you mean adamw?)"]),
    ],
)
def test_every_mistake_is_answered_with_its_remedy_and_nothing_is_made(door, tmp_path, argv, expected):
    ran = []
    said = door(*argv, train=ran.append)
    assert said.code == 1
    for text in expected:
        assert text in said.err
    assert len(said.err.strip().splitlines()) <= len(expected) + 1, "no more is said than what is wrong"
    assert "Traceback" not in said.err
    assert (ran, list(tmp_path.iterdir())) == ([], [])


def test_a_folder_of_ones_own_adds_groups(door, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    text = "# @package _global_\ndefaults: [cat_toy, _self_]\nname: mine\ndata: {folder: imgs}\n"
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text(text)
    names = []
    said = door("--config-dir=mine", "+experiment=mine", train=lambda cfg: names.append((cfg.name, cfg.data.folder)))
    assert (said.code, names) == (0, [("mine", "imgs")])


def test_what_the_user_did_is_one_sentence_and_what_we_did_a_traceback(door):
    def blame_the_user(cfg):
        raise UserError("data.folder: imgs holds no pictures; add some")

    def blame_us(cfg):
        raise IndexError("list index out of range")

    said = door(CAT, train=blame_the_user)
    assert (said.code, said.err.strip()) == (1, "data.folder: imgs holds no pictures; add some")
    said = door(CAT, train=blame_us)
    assert said.code == 1
    assert "blame_us" in said.err
    assert "IndexError: list index out of range" in said.err


def test_outputs_that_cannot_be_made_are_one_sentence(door, tmp_path):
    (tmp_path / "file").touch()
    said = door(CAT, "paths.root_dir=file/here")
    assert said.code == 1
    assert said.err.startswith("paths.root_dir: cannot make file/here")
    assert len(said.err.splitlines()) == 1


def test_an_interrupt_is_one_word(door):
    def interrupt(cfg):
        raise KeyboardInterrupt

    def interrupt_inside_lightning(cfg):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    for train in (interrupt, interrupt_inside_lightning):
        said = door(CAT, train=train)
        assert (said.code, said.err.strip()) == (130, "interrupted")


def test_a_sweep_runs_every_point_and_loses_no_message(door, tmp_path):
    runs = []

    def train(cfg):
        runs.append((cfg.seed, Path(cfg.paths.output_dir)))
        if cfg.seed == 2:
            raise UserError("the disk is full")
        return 0.5

    said = door("-m", CAT, "seed=1,2,3", "name=sweep", train=train)
    assert said.code == 1
    assert [seed for seed, _ in runs] == [1, 2, 3]
    (sweep,) = (tmp_path / "outputs" / "sweep").iterdir()
    assert [run for _, run in runs] == [sweep / "0", sweep / "1", sweep / "2"]
    assert said.err.count("point 1 (seed=2): the disk is full") == 2, "when it happens, and at the end"
    assert "1 of 3 points failed" in said.err
    assert "Traceback" not in said.err
    assert "point 2 (seed=3)" in said.out


def test_a_file_can_bring_a_sweep_along(door, tmp_path):
    (tmp_path / "mine" / "study").mkdir(parents=True)
    text = "# @package _global_\nname: study\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '4,5'}}}\n"
    (tmp_path / "mine" / "study" / "seeds.yaml").write_text(text)
    seen = []
    said = door("--config-dir=mine", CAT, "+study=seeds", "optimizer.lr=1,2", train=lambda cfg: seen.append(cfg.seed))
    assert said.code == 0, said.err
    assert seen == [4, 5, 4, 5]


@pytest.mark.slow
def test_every_point_of_a_sweep_has_a_wandb_run_of_its_own(door, monkeypatch):
    import wandb

    ids, codes, finish = [], [], wandb.finish
    monkeypatch.setattr(wandb, "finish", lambda exit_code: (codes.append(exit_code), finish(exit_code=exit_code)))

    def train(cfg):
        ids.append(wandb.init(mode="offline", dir=cfg.paths.output_dir).id)
        if cfg.seed == 2:
            raise UserError("the disk is full")

    door(CAT, "-m", "seed=1,2,3", train=train)
    assert len(set(ids)) == 3
    assert codes == [0, 1, 0]
    assert wandb.run is None


def test_options_may_stand_anywhere(door):
    seeds = []
    assert door(CAT, "-m", "seed=1,2", train=lambda cfg: seeds.append(cfg.seed)).code == 0
    assert seeds == [1, 2]


def test_resuming_goes_on_in_the_same_folder(door, tmp_path):
    def train(cfg):
        folder = Path(cfg.paths.output_dir) / "checkpoints"
        folder.mkdir(exist_ok=True)
        (folder / "step_000500.ckpt").touch()

    door(CAT, train=train)
    (run,) = (tmp_path / "outputs" / "cat_toy").iterdir()
    places = []
    for resume in ("latest", f"outputs/cat_toy/{run.name}"):
        assert door(CAT, f"resume={resume}", train=lambda cfg: places.append(cfg.paths.output_dir)).code == 0
    assert places == [str(run)] * 2
    assert list(run.parent.iterdir()) == [run]


SHOW = """
import contextlib, io, os, sys, time
os.environ.update(COMP_LINE="train.py +experiment=cat_t", COMP_POINT="26")
from tinv.training.main import main
for argv in (["--help"], ["-sc", "query=bash"], ["+experiment=cat_toy", "--cfg", "job"], [], ["+experiment=x"]):
    sys.argv = ["train.py", *argv]
    started, out = time.process_time(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            main()
    except SystemExit:
        pass
    print(argv, round(time.process_time() - started, 2), len(out.getvalue()), "cat_toy" in out.getvalue())
heavy = {"torch", "lightning", "diffusers", "transformers", "numpy", "wandb", "PIL"} & set(sys.modules)
assert not heavy, heavy
"""


def test_nothing_heavy_is_imported_to_show_or_to_refuse(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all(line.endswith("True") for line in lines), done.stdout
    assert max(float(line.rpartition("] ")[2].split()[0]) for line in lines) < 2, (
        "seconds of work, on however busy a machine"
    )


def test_train_py_leaves_with_the_exit_code(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "optimiser=adamw"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "optimiser=adamw: there is no optimiser (did you mean optimizer?)" in done.stderr
    assert done.stdout == ""
