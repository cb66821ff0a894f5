"""The environment of a run: overrides, git state, and no secrets."""

import os
import subprocess

from tinv.config.secrets import hide_override
from tinv.runs import environment
from tinv.runs.environment import get_git_state, read_hydra_choices


def test_choices_come_from_hydras_files(tmp_path):
    assert read_hydra_choices(tmp_path) is None
    (folder := tmp_path / ".hydra").mkdir()
    (folder / "config.yaml").write_text("seed: 0\n")
    (folder / "overrides.yaml").write_text("- +experiment=cat_toy\n- logger.wandb.api_key=abc\n")
    (folder / "hydra.yaml").write_text("hydra: {runtime: {choices: {model: toybox, hydra/launcher: basic}}}\n")
    content = read_hydra_choices(tmp_path)
    assert content["overrides"] == ["+experiment=cat_toy", "logger.wandb.api_key=***"]
    assert content["choices"] == {"model": "toybox"} and len(content["config_sha256"]) == 64


def test_only_secrets_are_masked():
    for name in ("hub.hf_token", "api_key", "WANDB_API_KEY", "a.password", "client_secret", "x.auth"):
        assert hide_override(f"{name}=abc") == f"{name}=***"
    for argument in ("embedding=token", "concept.placeholder_token=<token>", "--multirun", "seed=0,1"):
        assert hide_override(argument) == argument


def test_git_state_of_the_code_without_side_effects(tmp_path, monkeypatch):
    source = tmp_path / "environment.py"
    source.write_text("")
    monkeypatch.setattr(environment, "__file__", str(source))
    assert get_git_state() is None
    author = {f"GIT_{role}_{field}": "a@b" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")}
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, env={**os.environ, **author})
    os.utime(source, (1, 1))  # otherwise git would update its index
    index = (tmp_path / ".git" / "index").read_bytes()
    clean = get_git_state()
    assert (tmp_path / ".git" / "index").read_bytes() == index, "another process may use the repository"
    assert (len(clean["commit"]), clean["dirty"]) == (40, False)
    source.write_text("changed")
    assert get_git_state() == {**clean, "dirty": True}
    monkeypatch.setenv("PATH", "")
    assert get_git_state() is None
