"""A file of configuration leaves what runs code or chooses folders as tinv ships it; the command line does not."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.composing import groups
from tinv.config.compose import CompositionError, Groups
from tinv.config.restricted_settings import TRUSTED_VARIABLE, is_trusted_folder, trust_in_children
from tinv.config.validate import ConfigError

DEFAULTS = ("cat_toy", {"override /hydra/launcher": "slurm"}, {"override /hydra/sweeper": "optuna"}, "_self_")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a folder of groups."""
    groups()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    return tmp_path


def load(folder: Path, settings: Any, *overrides: str, defaults: Any = DEFAULTS) -> Any:
    text = yaml.safe_dump({"defaults": list(defaults), **settings}, sort_keys=False)
    (folder / "mine" / "experiment" / "x.yaml").write_text(f"# @package _global_\n{text}")
    return Groups("mine").load(["+experiment=x", *overrides])


REFUSED = [
    ({"hydra": {"run": {"dir": "/x"}}}, "hydra.run.dir=/x: a file may not set it"),
    ({"hydra": {"run": {"dir": "${oc.env:HOME}"}}}, "hydra.run.dir=${oc.env:HOME}: a file may not set it"),
    ({"hydra": {"output_subdir": "../x"}}, "hydra.output_subdir=../x"),
    ({"hydra": {"job": {"name": "../x"}}}, "hydra.job.name=../x: must be a file name"),
    ({"hydra": {"job": {"env_set": {"PATH": "/x"}}}}, "hydra.job.env_set.PATH=/x"),
    ({"hydra": {"job": {"env_copy": ["HOME"]}}}, "hydra.job.env_copy=['HOME']"),
    ({"hydra": {"launcher": {"setup": ["touch x"]}}}, "hydra.launcher.setup=['touch x']"),
    ({"hydra": {"launcher": {"python": "/x"}}}, "hydra.launcher.python=/x"),
    ({"hydra": {"launcher": {"options": {"output": "/x"}}}}, "hydra.launcher.options.output=/x"),
    ({"hydra": {"launcher": {"options": {"a": {"_target_": "os.getcwd"}}}}}, "hydra.launcher.options.a._target_"),
    ({"hydra": {"sweeper": {"storage": "postgresql://x/y"}}}, "hydra.sweeper.storage=postgresql://x/y"),
    ({"hydra": {"sweeper": {"params": {"paths.root_dir": "/x"}}}}, "hydra.sweeper.params.paths.root_dir"),
    ({"hydra": {"sweeper": {"params": {"seed": "${model}"}}}}, "hydra.sweeper.params.seed=${model}: takes no"),
    ({"hydra": {"sweeper": {"params": {"callbacks.export": "{dir: /x}"}}}}, "hydra.sweeper.params.callbacks.export"),
    ({"hydra": {"sweeper": {"params": {"paths.root_dir=/x,seed": 1}}}}, "a file may not sweep it"),
    ({"hydra": {"overrides": {"task": ["paths.root_dir=/x"]}}}, "hydra.overrides.task"),
    ({"hydra": {"callbacks": {"x": {"_target_": "hydra.experimental.callbacks.LogJobReturnCallback"}}}}, "callbacks.x"),
    ({"hydra": {"callbacks": "${model}"}}, "hydra.callbacks"),
    ({"hydra": {"job_logging": {"handlers": {"x": {"()": "os.getcwd"}}}}}, "hydra.job_logging.handlers.x.()"),
    (
        {"hydra": {"job_logging": {"handlers": {"file": {"filename": "/x"}}}}},
        "hydra.job_logging.handlers.file.filename",
    ),
    ({"hydra": {"job_logging": {"formatters": {"x": {"format": "ext://os.sep"}}}}}, "formatters.x.format=ext://os.sep"),
    ({"hydra": {"hydra_logging": {"filters": {"x": {}}}}}, "hydra.hydra_logging.filters"),
    ({"hydra": {"job_logging": {"handlers": {"x": [{"()": "os.getcwd"}]}}}}, "hydra.job_logging.handlers.x="),
    ({"hydra": {"job_logging": {"handlers": "${model}"}}}, "hydra.job_logging.handlers=${model}"),
    ({"paths": {"root_dir": "/x"}}, "paths.root_dir=/x: a file may set it to a path inside the working directory only"),
    ({"paths": {"root_dir": "../x"}}, "paths.root_dir=../x"),
    ({"paths": {"root_dir": "${name}"}}, "paths.root_dir=${name}"),
    ({"paths": {"cache_dir": "~/x"}}, "paths.cache_dir=~/x"),
    ({"paths": {"output_dir": "x"}}, "paths.output_dir=x"),
    ({"resume": "/x"}, "resume=/x"),
    ({"logger": {"csv": {"dir": "x"}}}, "logger.csv.dir=x"),
    ({"callbacks": {"export": {"dir": "x"}}}, "callbacks.export.dir=x"),
    ({"callbacks": {"export": "${callbacks.samples}"}}, "callbacks.export=${callbacks.samples}"),
    ({"trainer": {"default_root_dir": "/x"}}, "trainer.default_root_dir=/x"),
]


@pytest.mark.parametrize(("settings", "problem"), REFUSED)
def test_a_file_sets_no_restricted_setting(folder, settings, problem):
    with pytest.raises(ConfigError) as error:
        load(folder, settings)
    assert problem in str(error.value)
    assert [path.name for path in folder.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    "settings",
    [
        {"hydra": {"mode": "MULTIRUN", "sweeper": {"params": {"seed": "1,2", "+recipe": "quick,published"}}}},
        {"hydra": {"launcher": {"options": {"qos": "long"}}}},
        {"hydra": {"job_logging": {"root": {"level": "DEBUG"}, "formatters": {"simple": {"format": "%(levelname)s"}}}}},
        {"hydra": {"verbose": True, "job": {"name": "tinv-2"}}},
        {"paths": {"root_dir": "runs/mine", "cache_dir": None}, "resume": "latest"},
        {"resume": 500, "logger": {"csv": {"dir": "${paths.output_dir}"}}},
    ],
)
def test_a_file_sets_everything_else(folder, settings):
    load(folder, settings)


@pytest.mark.parametrize(
    "override",
    [
        "hydra.run.dir=/x",
        "hydra.output_subdir=null",
        "+hydra.job={env_set: {A: b}}",
        "+hydra.job.env_set.A=b",
        "hydra.job.env_copy=[HOME]",
        "hydra.launcher.setup=[module load cuda]",
        "hydra.job_logging.handlers.file.filename=x.log",
        "paths={root_dir: /x}",
        "resume=/x",
        "logger.csv.dir=/x",
        "+trainer.default_root_dir=/x",
    ],
)
def test_what_is_typed_is_the_users_own(folder, override):
    load(folder, {}, override)


def test_a_typed_mapping_covers_only_the_settings_in_it(folder):
    with pytest.raises(ConfigError, match=r"hydra\.job\.env_set\.PATH"):
        load(folder, {"hydra": {"job": {"env_set": {"PATH": "/x"}}}}, "+hydra.job.env_set.A=b")


@pytest.mark.parametrize("override", ["+hydra.callbacks.x._target_=os.getcwd", "hydra.launcher._target_=os.getcwd"])
def test_even_what_is_typed_calls_only_listed_targets(folder, override):
    with pytest.raises(ConfigError, match=r"os\.getcwd is not on the list"):
        load(folder, {}, override)


def test_the_environment_allows_the_files_of_a_folder(folder, monkeypatch):
    assert not is_trusted_folder("mine")
    monkeypatch.setenv(TRUSTED_VARIABLE, os.pathsep.join(["elsewhere", str(folder / "mine")]))
    assert is_trusted_folder("mine")
    assert load(folder, {"paths": {"root_dir": "/x"}}).paths.root_dir == "/x"
    with pytest.raises(ConfigError, match=r"os\.getcwd"):
        load(folder, {"hydra": {"callbacks": {"x": {"_target_": "os.getcwd"}}}})
    trust_in_children(folder / "copy")
    assert is_trusted_folder(folder / "copy") and is_trusted_folder("mine")


def test_a_link_does_not_lead_out_of_the_working_directory(folder, tmp_path_factory):
    (folder / "link").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(ConfigError, match=r"paths\.root_dir=link/runs"):
        load(folder, {"paths": {"root_dir": "link/runs"}})


def test_an_option_of_the_users_folder_is_a_file_too(folder):
    (folder / "mine" / "hydra" / "job_logging").mkdir(parents=True)
    (folder / "mine" / "hydra" / "job_logging" / "own.yaml").write_text("handlers: {x: {class: os.getcwd}}\n")
    with pytest.raises(ConfigError, match=r"hydra\.job_logging\.handlers\.x\.class=os\.getcwd"):
        load(folder, {}, "hydra/job_logging=own")
    with pytest.raises(ConfigError, match=r"hydra\.job_logging"):
        load(folder, {}, defaults=["cat_toy", {"override /hydra/job_logging": "own"}])


def test_a_file_replaces_none_of_tinv_and_extends_no_search_path(folder):
    (folder / "mine" / "config.yaml").write_text("hydra: {searchpath: ['pkg://no_such_package']}\n")
    assert Groups("mine").load([]).hydra.searchpath == []
    with pytest.raises(CompositionError, match=r"hydra\.searchpath"):
        load(folder, {"hydra": {"searchpath": ["pkg://no_such_package"]}})


def test_a_point_of_a_sweep_is_checked_too(folder):
    loader = Groups("mine").loader
    master = load(folder, {})
    text = "# @package _global_\ndefaults: [cat_toy, _self_]\nhydra: {output_subdir: /x}\n"
    (folder / "mine" / "experiment" / "y.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"hydra\.output_subdir=/x"):
        loader.load_sweep_config(master, ["+experiment=y"])
