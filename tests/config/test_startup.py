"""Imports of a run without garbage collection; commands in one process do not affect each other."""

import gc
import subprocess
import sys
from copy import deepcopy

import pytest
from hydra.plugins.config_source import ConfigSource

from tests.composing import groups
from tests.conftest import ROOT
from tinv.config import startup


def test_a_changed_file_is_read_again_by_the_next_command(run_main, tmp_path):
    mine = tmp_path / "mine" / "experiment"
    mine.mkdir(parents=True)
    max_steps = []
    for steps in (3, 4):
        text = f"# @package _global_\ndefaults: [cat_toy]\ntrainer: {{max_steps: {steps}}}\nname: mine\n"
        (mine / "mine.yaml").write_text(text)
        run_main("--config-dir", "mine", "+experiment=mine", train=lambda cfg: max_steps.append(cfg.trainer.max_steps))
    assert max_steps == [3, 4]


def test_a_single_run_after_a_sweep_is_not_a_sweep(run_main, tmp_path):
    mine = tmp_path / "mine" / "study"
    mine.mkdir(parents=True)
    text = "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '4,5'}}}\n"
    (mine / "seeds.yaml").write_text(text)
    seeds = []
    for overrides in (["--config-dir", "mine", "+study=seeds"], []):
        run_main(*overrides, "+experiment=cat_toy", train=lambda cfg: seeds.append(cfg.seed))
    assert seeds == [4, 5, 0]


def test_imports_of_a_run_are_not_garbage_collected(monkeypatch):
    monkeypatch.delitem(sys.modules, "tinv.training.run", raising=False)
    try:
        with pytest.raises(ImportError), startup.imports():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled()
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_the_objects_of_a_run_are_collected_in_a_sweep(monkeypatch):
    monkeypatch.setitem(sys.modules, "tinv.training.run", sys)
    with startup.imports():
        assert gc.isenabled()
    assert not gc.get_freeze_count()


def test_copies_of_the_repository_share_their_sources(monkeypatch):
    repository = groups().loader.repository
    shared = deepcopy(repository)
    assert all(a is b for a, b in zip(shared.get_sources(), repository.get_sources(), strict=True))
    monkeypatch.delattr(ConfigSource, "__deepcopy__")
    full = deepcopy(repository)
    assert not any(a is b for a, b in zip(full.get_sources(), repository.get_sources(), strict=True))
    for group in ("", "model", "hydra/launcher"):
        assert full.get_group_options(group) == shared.get_group_options(group)


@pytest.mark.slow
def test_a_run_does_not_import_matplotlib():
    pytest.importorskip("matplotlib")
    code = "import sys; from tinv.config import startup\nwith startup.imports(): import tinv.training.run\n"
    code += "assert 'torchmetrics' in sys.modules and 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=600)
