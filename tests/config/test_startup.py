"""Hydra says the same when it does its work once only, and sees what has changed since the last command."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tinv.config import startup as thrift

PLAIN = """
import sys
from tinv import front
from tinv.config import thrift
if sys.argv.pop(1) == "plain":
    thrift.remember = lambda: None
    thrift.settle_mode = lambda mode: None
front.main()
"""
IMPORTED = """
import sys
from tinv.config import thrift
with thrift.imports():
    import tinv.training.run
print("matplotlib" in sys.modules)
"""
COMMANDS = (
    ["--help"],
    ["+experiment=cat_toy", "--cfg", "job", "optimizer.lr=1e-3"],
    ["+experiment=two_toys", "early_stopping=dvar", "--cfg", "hydra"],
    ["+experiment=cat_toy", "+debug=fast", "--info", "defaults-tree"],
    ["-m", "+experiment=cat_toy,robot", "seed=1,2", "sweep.dry_run=true"],
    ["+experiment=cat_toy", "optimzer.lr=1", "model=sd16"],
)


def said(how: str, argv: list[str], folder: Path) -> tuple[int, str, str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, how, *argv], cwd=folder, env=env, capture_output=True, text=True, timeout=600
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_the_same_is_said(argv, tmp_path):
    plain, thrifty = (said(how, argv, tmp_path) for how in ("plain", "thrifty"))
    assert thrifty == plain
    assert any(plain[1:])


def test_a_file_that_has_changed_is_read_again_by_the_next_command(run_main, tmp_path):
    mine = tmp_path / "mine" / "experiment"
    mine.mkdir(parents=True)
    seen = []
    for steps in (3, 4):
        text = f"# @package _global_\ndefaults: [cat_toy]\ntrainer: {{max_steps: {steps}}}\nname: mine\n"
        (mine / "mine.yaml").write_text(text)
        run_main("--config-dir", "mine", "+experiment=mine", train=lambda cfg: seen.append(cfg.trainer.max_steps))
    assert seen == [3, 4]


def test_a_file_that_asks_for_a_sweep_is_one_and_the_next_command_is_none(run_main, tmp_path):
    mine = tmp_path / "mine" / "study"
    mine.mkdir(parents=True)
    text = "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '4,5'}}}\n"
    (mine / "seeds.yaml").write_text(text)
    seen = []
    for typed in (["--config-dir", "mine", "+study=seeds"], []):
        run_main(*typed, "+experiment=cat_toy", train=lambda cfg: seen.append(cfg.seed))
    assert seen == [4, 5, 0]


def test_no_garbage_is_looked_for_while_a_run_is_imported_and_never_among_that(monkeypatch):
    monkeypatch.delitem(sys.modules, "tinv.training.run", raising=False)
    try:
        with pytest.raises(ImportError), thrift.imports():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() and gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_what_a_run_of_a_sweep_leaves_behind_is_garbage(monkeypatch):
    monkeypatch.setitem(sys.modules, "tinv.training.run", sys)
    with thrift.imports():
        assert gc.isenabled()
    assert not gc.get_freeze_count()


@pytest.mark.slow
def test_no_run_pays_for_plots(tmp_path):
    pytest.importorskip("matplotlib")
    done = subprocess.run([sys.executable, "-c", IMPORTED], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.stdout.split() == ["False"], done.stderr
