"""The workspace shows metrics that runs log and settings that exist."""

import json
import subprocess
import sys

import pytest

from tests.composing import groups
from tinv.cli import main
from tinv.cli.dashboard import SWEPT
from tinv.errors import UserError
from tinv.training.loggers.wandb_workspace import build_workspace, workspace_json

LOGGED = {"val/loss", "train/loss", "train/lr"}
LOGGED |= {f"embedding/{name}" for name in ("norm", "norm_percentile", "cosine_to_start")}
"""Metrics that tests/training/loggers/test_wandb.py finds in a run."""


@pytest.fixture(scope="module")
def sections():
    content = workspace_json(build_workspace("mine", entity="me", swept=SWEPT))
    assert (content["entity"], content["project"]) == ("me", "mine")
    return {section["name"]: section["panels"] for section in content["spec"]["section"]["panelBankConfig"]["sections"]}


def test_curves_show_logged_metrics_over_the_step(sections):
    curves = [panel["config"] for panel in [*sections["Loss"], *sections["Embedding"]]]
    assert {name for curve in curves for name in curve["metrics"]} == LOGGED
    assert {curve["xAxis"] for curve in curves} == {"trainer/global_step"}


def test_samples_of_runs_are_side_by_side(sections):
    sheets, table = sections["Samples"]
    assert sheets["config"]["mediaKeys"] == ["samples"]
    assert sheets["config"]["gridSettings"] == {"xAxis": "step", "yAxis": "run"}
    assert '"samples/table"' in json.dumps(table)


def test_sweep_panels_show_existing_settings(sections):
    kinds = [panel["viewType"] for panel in sections["Sweep"]]
    assert {"Parallel Coordinates Plot", "Parameter Importance", "Scatter Plot"} <= set(kinds)
    columns = [column["accessor"] for column in sections["Sweep"][0]["config"]["columns"]]
    assert columns[-1] == "summary:val/loss"
    cfg = groups().compose(["+experiment=cat_toy"])
    for setting, accessor in zip(SWEPT, columns, strict=False):
        group, _, leaf = setting.partition(".")
        assert leaf in cfg[group] if leaf else group in cfg
        assert accessor == (f"config:{group}.value.{leaf}" if leaf else f"config:{group}.value")


def test_the_library_reads_the_workspace_back(sections):
    from wandb_workspaces.workspaces import internal

    content = workspace_json(build_workspace("mine", entity="me", swept=["optimizer.lr"]))
    again = internal.View.model_validate(content).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert again == content


def test_the_command_writes_the_workspace_to_a_file(tmp_path, capsys):
    file = tmp_path / "workspace.json"
    assert main(["dashboard", "--output", str(file), "--project", "p", "--monitor", "val/x", "--swept", "seed"]) == 0
    assert str(file) in capsys.readouterr().out and '"summary:val/x"' in file.read_text()


def test_a_missing_key_is_reported(without_account, capsys):
    assert main(["dashboard"]) == 1
    assert "there is no API key of" in capsys.readouterr().err


def test_a_missing_package_raises_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    with pytest.raises(UserError, match=r'pip install "tinv\[dashboard\]"'):
        build_workspace("mine")


def test_it_does_not_import_torch():
    code = "import sys, tinv.training.loggers.wandb_workspace as w; w.workspace_json(w.build_workspace('x'))"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)
