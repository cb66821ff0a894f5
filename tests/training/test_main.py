"""A command runs, or is answered at once with everything that is wrong with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig

from tests.checkpoint_files import write_checkpoint
from tests.conftest import run_unread
from tinv.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CAT = "+experiment=cat_toy"


def test_a_run_gets_checked_settings_and_a_folder_of_its_own(run_main, tmp_path):
    seen = []
    output = run_main(CAT, "optimizer.lr=1e-3", train=seen.append)
    (cfg,) = seen
    assert (output.code, cfg.optimizer.lr) == (0, 1e-3)
    run = Path(cfg.paths.output_dir)
    assert run.parent == tmp_path / "outputs" / "cat_toy"
    assert yaml.safe_load((run / ".hydra" / "overrides.yaml").read_text()) == [CAT, "optimizer.lr=1e-3"]
    assert [path.name for path in (tmp_path / "outputs" / "cat_toy").iterdir()] == [run.name]


def test_the_run_folder_is_the_same_each_time_it_is_resolved(run_main):
    """Lightning resolves hydra.run.dir again when it starts further processes."""
    folders = []
    run_main(CAT, train=lambda cfg: folders.extend([cfg.paths.output_dir, os.path.abspath(HydraConfig.get().run.dir)]))
    assert folders[0] == folders[1]


@pytest.mark.parametrize("option", ["--config-path=/", "--config-name=x", "--experimental-rerun=x"])
def test_another_primary_config_is_refused(run_main, tmp_path, option):
    output = run_main(CAT, option)
    assert output.code == 2 and f"{option.partition('=')[0]}: not supported" in output.err
    assert list(tmp_path.iterdir()) == []


def test_a_command_without_overrides_is_answered_with_examples(run_main, tmp_path):
    output = run_main()
    assert output.code == 1
    assert "python train.py +experiment=cat_toy" in output.err
    assert "sepia" in output.err and "sd15" not in output.err  # only what needs no download
    assert "data.folder" in output.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (
            ["+experiment=cat_toi", "optimizer=adamv", "optimizer.lrr=1", "embedding.num_vector=2", "+foo=1", "seed="],
            ["cat_toi", "adamw?", "optimizer.lr?", "embedding.num_vectors?", "foo", "seed='': must be int"],
        ),
        ([CAT, "resume=latest"], ["resume=latest: no such checkpoint under outputs/cat_toy"]),
        ([CAT, "-m", "resume=latest", "seed=1,2"], ["resume=latest: continues one run, but -m starts several"]),
        (
            [CAT, "-m", "hub.push=true", "seed=1,2"],
            ["hub.push=true: the points of -m would overwrite each other. Push one run: tinv push RUN"],
        ),
        ([CAT, "--config-dir", "nowhere"], ["--config-dir=nowhere: there is no such folder"]),
        ([CAT, "--cfg", "job", "optimizer=adamv"], ["there is no optimizer adamv (did you mean adamw?)"]),
    ],
)
def test_every_mistake_is_answered_with_its_remedy_and_no_file_is_written(run_main, tmp_path, argv, expected):
    ran = []
    output = run_main(*argv, train=ran.append)
    assert output.code == 1
    for text in expected:
        assert text in output.err
    assert len(output.err.strip().splitlines()) <= len(expected) + 1, "nothing else is reported"
    assert "Traceback" not in output.err
    assert (ran, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--num_vectors=4"], ["--num_vectors=4: write embedding.num_vectors=4"]),
        (["--learning_rate", "5e-4", "--scale_lr"], ["write optimizer.lr=0.0005", "--scale_lr: write scale_lr=true"]),
        (["--placeholder_token=<x>"], ["write 'concept.placeholder_token=\"<x>\"'", "tinv from-diffusers"]),
        (["--hub_token=SECRET"], ["use `hf auth login`"]),
        (["--resolution=abc"], ["--resolution: invalid int value"]),
        (["--optimizer.lr=1e-3"], ["write optimizer.lr=1e-3"]),
        (["--max_steps", "100"], ["there is no max_steps (did you mean trainer.max_steps?)"]),
    ],
)
def test_flags_of_diffusers_and_settings_with_dashes_are_answered_with_the_override(run_main, tmp_path, argv, expected):
    output = run_main(CAT, *argv)
    assert output.code == 2
    for text in expected:
        assert text in output.err
    assert "usage:" not in output.err
    assert list(tmp_path.iterdir()) == []


def test_config_dir_adds_groups(run_main, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    text = "# @package _global_\ndefaults: [cat_toy, _self_]\nname: mine\ndata: {folder: imgs}\n"
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text(text)
    names = []
    output = run_main(
        "--config-dir=mine", "+experiment=mine", train=lambda cfg: names.append((cfg.name, cfg.data.folder))
    )
    assert (output.code, names) == (0, [("mine", "imgs")])


def test_a_user_error_is_one_line_and_a_bug_a_traceback(run_main):
    def raise_user_error(cfg):
        raise UserError("data.folder: imgs has no images. Add some.")

    def raise_bug(cfg):
        raise IndexError("list index out of range")

    output = run_main(CAT, train=raise_user_error)
    assert (output.code, output.err.strip()) == (1, "data.folder: imgs has no images. Add some.")
    output = run_main(CAT, train=raise_bug)
    assert output.code == 1
    assert "raise_bug" in output.err
    assert "IndexError: list index out of range" in output.err


def test_a_root_folder_that_cannot_be_created_is_one_line(run_main, tmp_path):
    (tmp_path / "file").touch()
    output = run_main(CAT, "paths.root_dir=file/here")
    assert output.code == 1
    assert output.err.startswith("paths.root_dir=file/here: cannot create")
    assert len(output.err.splitlines()) == 1


def test_an_interrupt_is_one_line(run_main):
    def interrupt(cfg):
        raise KeyboardInterrupt

    def interrupt_inside_lightning(cfg):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    for train in (interrupt, interrupt_inside_lightning):
        output = run_main(CAT, train=train)
        assert (output.code, output.err.count("\n")) == (130, 1)
        assert output.err.startswith("interrupted by SIGINT; outputs/cat_toy/")


def test_a_sweep_runs_every_point_and_repeats_failures_at_the_end(run_main, tmp_path):
    runs = []

    def train(cfg):
        runs.append((cfg.seed, Path(cfg.paths.output_dir)))
        if cfg.seed == 2:
            raise UserError("the disk is full")
        return 0.5

    output = run_main("-m", CAT, "seed=1,2,3", "name=sweep", train=train)
    assert output.code == 1
    assert [seed for seed, _ in runs] == [1, 2, 3]
    (sweep,) = (tmp_path / "outputs" / "sweep").iterdir()
    assert [run for _, run in runs] == [sweep / "0", sweep / "1", sweep / "2"]
    assert output.err.count("point 1 (seed=2): the disk is full") == 2, "when it happens, and at the end"
    assert "1 of 3 points failed" in output.err
    assert "Traceback" not in output.err
    assert "point 2 (seed=3)" in output.out


def test_a_file_can_define_a_sweep(run_main, tmp_path):
    (tmp_path / "mine" / "study").mkdir(parents=True)
    text = "# @package _global_\nname: study\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '4,5'}}}\n"
    (tmp_path / "mine" / "study" / "seeds.yaml").write_text(text)
    seen = []
    output = run_main(
        "--config-dir=mine", CAT, "+study=seeds", "optimizer.lr=1,2", train=lambda cfg: seen.append(cfg.seed)
    )
    assert output.code == 0, output.err
    assert seen == [4, 5, 4, 5]


@pytest.mark.slow
def test_every_point_of_a_sweep_has_its_own_wandb_run(run_main, monkeypatch):
    import wandb

    ids, codes, finish = [], [], wandb.finish
    monkeypatch.setattr(wandb, "finish", lambda exit_code: (codes.append(exit_code), finish(exit_code=exit_code)))

    def train(cfg):
        ids.append(wandb.init(mode="offline", dir=cfg.paths.output_dir).id)
        if cfg.seed == 2:
            raise UserError("the disk is full")

    run_main(CAT, "-m", "seed=1,2,3", train=train)
    assert len(set(ids)) == 3
    assert codes == [0, 1, 0]
    assert wandb.run is None


def test_options_may_stand_anywhere(run_main):
    seeds = []
    assert run_main(CAT, "-m", "seed=1,2", train=lambda cfg: seeds.append(cfg.seed)).code == 0
    assert seeds == [1, 2]


def test_a_resumed_run_continues_in_its_folder(run_main, tmp_path):
    def train(cfg):
        write_checkpoint(Path(cfg.paths.output_dir) / "checkpoints" / "step_000500.ckpt")

    run_main(CAT, train=train)
    (run,) = (tmp_path / "outputs" / "cat_toy").iterdir()
    folders = []
    for resume in ("latest", f"outputs/cat_toy/{run.name}"):
        assert run_main(CAT, f"resume={resume}", train=lambda cfg: folders.append(cfg.paths.output_dir)).code == 0
    assert folders == [str(run)] * 2
    assert list(run.parent.iterdir()) == [run]


QUERIES = """
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


def test_queries_and_errors_import_nothing_heavy_and_take_less_than_2_s(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", QUERIES], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all(line.endswith("True") for line in lines), done.stdout
    assert max(float(line.rpartition("] ")[2].split()[0]) for line in lines) < 2, (
        "seconds of work, on however busy a machine"
    )


def test_train_py_exits_with_the_exit_code(tmp_path):
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


@pytest.mark.skipif(os.name == "nt", reason="Windows raises no BrokenPipeError")
@pytest.mark.parametrize("merge_stderr", [False, True])
@pytest.mark.parametrize("arguments", ["--help", "--cfg=job", "-m seed=1,2 sweep.dry_run=true"])
def test_a_reader_that_ends_is_no_error(arguments, merge_stderr):
    done = run_unread(str(ROOT / "train.py"), CAT, *arguments.split(), merge_stderr=merge_stderr)
    assert (done.returncode, done.stderr or "") == (141, "")


@pytest.mark.skipif(os.name == "nt", reason="Windows raises no BrokenPipeError")
@pytest.mark.parametrize("merge_stderr", [False, True])
def test_a_run_whose_reader_ends_is_interrupted(tmp_path, merge_stderr):
    code = f"""if True:
        import sys
        from types import SimpleNamespace
        from tinv.training.main import main
        sys.argv = ["train.py", "{CAT}", r"hydra.run.dir={tmp_path}/run"]
        sys.modules["tinv.training.run"] = SimpleNamespace(train=lambda cfg: print("step 1", flush=True))
        main()"""
    done = run_unread("-c", code, merge_stderr=merge_stderr)
    assert done.returncode == 141
    assert merge_stderr or (done.stderr.startswith("interrupted by SIGPIPE; ") and "Traceback" not in done.stderr)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "interrupted"
