"""The workspace shows names that runs really log and settings that really exist, in panels of W&B's own library."""

import json
import subprocess
import sys

import pytest

from tests.composing import groups
from tinv.cli import main
from tinv.cli.dashboard import SWEPT
from tinv.errors import UserError
from tinv.training.loggers.wandb_workspace import build_workspace, workspace_json

LOGGED = {"val/loss", "train/loss", "train/lr", "embedding/norm", "embedding/norm_percentile"} | {
    "embedding/cosine_to_start"
}
"""What tests/training/loggers/test_wandb.py finds in a run."""


@pytest.fixture(scope="module")
def sections():
    found = workspace_json(build_workspace("mine", entity="me", swept=SWEPT))
    assert (found["entity"], found["project"]) == ("me", "mine")
    return {section["name"]: section["panels"] for section in found["spec"]["section"]["panelBankConfig"]["sections"]}


def test_the_curves_are_of_numbers_that_runs_log_over_the_training_step(sections):
    curves = [panel["config"] for panel in [*sections["Loss"], *sections["Embedding"]]]
    assert {name for curve in curves for name in curve["metrics"]} == LOGGED
    assert {curve["xAxis"] for curve in curves} == {"trainer/global_step"}


def test_samples_of_the_runs_stand_side_by_side(sections):
    sheets, table = sections["Samples"]
    assert sheets["config"]["mediaKeys"] == ["samples"]
    assert sheets["config"]["gridSettings"] == {"xAxis": "step", "yAxis": "run"}
    assert '"samples/table"' in json.dumps(table)


def test_a_sweep_is_shown_by_the_settings_that_exist(sections):
    kinds = [panel["viewType"] for panel in sections["Sweep"]]
    assert {"Parallel Coordinates Plot", "Parameter Importance", "Scatter Plot"} <= set(kinds)
    columns = [column["accessor"] for column in sections["Sweep"][0]["config"]["columns"]]
    assert columns[-1] == "summary:val/loss"
    cfg = groups().compose(["+experiment=cat_toy"])
    for setting, accessor in zip(SWEPT, columns, strict=False):
        group, _, leaf = setting.partition(".")
        assert leaf in cfg[group] if leaf else group in cfg
        assert accessor == (f"config:{group}.value.{leaf}" if leaf else f"config:{group}.value")


def test_the_library_reads_its_own_workspace_back(sections):
    from wandb_workspaces.workspaces import internal

    found = workspace_json(build_workspace("mine", entity="me", swept=["optimizer.lr"]))
    again = internal.View.model_validate(found).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert again == found


def test_the_command_writes_what_it_would_send(tmp_path, capsys):
    file = tmp_path / "workspace.json"
    assert main(["dashboard", "--output", str(file), "--project", "p", "--monitor", "val/x", "--swept", "seed"]) == 0
    assert str(file) in capsys.readouterr().out
    assert '"summary:val/x"' in file.read_text()


def test_without_a_key_it_says_so(monkeypatch, tmp_path, capsys):
    import wandb

    wandb.teardown()
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["dashboard"]) == 1
    assert "there is no API key for" in capsys.readouterr().err


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    with pytest.raises(UserError, match=r'pip install "tinv\[dashboard\]"'):
        build_workspace("mine")


def test_no_torch_is_loaded_for_it():
    code = "import sys, tinv.training.loggers.wandb_workspace as d; d.workspace_json(d.build_workspace('x')); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
