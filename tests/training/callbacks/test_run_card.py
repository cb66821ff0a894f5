"""run.json tells what ran and how it ended, and no secrets."""

import json
import os
import subprocess
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from lightning.pytorch import Callback

from tests.training.callbacks.fitting import Interrupt, fit
from tinv.models import LatentDiffusion
from tinv.runs import environment as environment
from tinv.runs.environment import get_git_state, mask_secret, read_hydra_choices
from tinv.training.callbacks import Checkpoints, EmbeddingStats, RunCard, Samples
from tinv.training.callbacks.timing import Stopwatch, time_phase


def card(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def test_a_finished_run_says_what_ran_and_what_came_of_it(tmp_path: Path, model: LatentDiffusion) -> None:
    callbacks = [
        RunCard(tmp_path),
        EmbeddingStats(),
        Samples(tmp_path, ["a {}"], [0], num_inference_steps=1),
        Checkpoints(tmp_path),
    ]
    with time_phase(callbacks, "loading"):
        pass
    fit(tmp_path, model, callbacks, max_steps=4, accumulate=3)
    found = card(tmp_path)
    assert found["status"] == "finished"
    assert found["concept"] == {
        "placeholder_token": "<cat-toy>",
        "initializer_token": "toy",
        "kind": "object",
        "num_vectors": {"clip_l": 1},
    }
    assert found["model"] == {"name": model.name, "fingerprint": model.fingerprint}
    assert found["images"] == ["0.png", "1.png", "2.png"]
    assert (found["effective_batch"], found["images_seen"], found["max_steps"]) == (6, 24, 4)
    assert found["result"]["steps"] == 4
    assert found["result"]["embedding_stats"]["step"] == 4
    assert found["result"]["val/loss"] > 0
    assert set(found["seconds"]) == {"loading", "training", "validation", "sampling", "saving", "total"}
    assert set(found["cpu_seconds"]) == set(found["seconds"])
    parts = [seconds for phase, seconds in found["seconds"].items() if phase != "total"]
    assert sum(parts) <= found["seconds"]["total"] + 0.1
    assert found["versions"]["torch"].startswith("2.")
    assert found["machine"]["device"] == "cpu"


class Sleeper(Callback):
    """Waits at two steps, of which one is a phase of its own."""

    def __init__(self) -> None:
        self.stopwatch = Stopwatch()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 1:
            sleep(0.4)
        if trainer.global_step == 2:
            with self.stopwatch("evaluating"):
                sleep(2)


def test_waiting_takes_time_but_not_the_processors_and_no_phase_is_in_another(
    tmp_path: Path, model: LatentDiffusion
) -> None:
    fit(tmp_path, model, [RunCard(tmp_path), Sleeper()], max_steps=3)
    clock, processor = card(tmp_path)["seconds"], card(tmp_path)["cpu_seconds"]
    assert clock["evaluating"] >= 2
    assert processor["evaluating"] < 0.5
    assert 0.4 <= clock["training"] <= clock["total"] - clock["evaluating"]
    assert 0 < processor["training"] <= processor["total"]


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (RuntimeError("the disk fell out"), "failed", "RuntimeError: the disk fell out"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
    ],
)
def test_a_run_that_did_not_finish_says_why(
    tmp_path: Path, model: LatentDiffusion, error: BaseException, status: str, reason: str
) -> None:
    with pytest.raises((RuntimeError, SystemExit)):
        fit(tmp_path, model, [RunCard(tmp_path), Interrupt(2, error)])
    assert (card(tmp_path)["status"], card(tmp_path)["reason"]) == (status, reason)
    assert card(tmp_path)["result"]["steps"] == 2


def test_the_card_of_a_run_in_progress_says_so_and_a_resumed_run_keeps_it(
    tmp_path: Path, model: LatentDiffusion
) -> None:
    class Killed(Interrupt):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 5:
                (tmp_path / "as_killed.json").write_bytes((tmp_path / "run.json").read_bytes())

    fit(tmp_path, model, [RunCard(tmp_path), Checkpoints(tmp_path, 2), Killed(5, RuntimeError())], max_steps=6)
    (tmp_path / "as_killed.json").replace(tmp_path / "run.json")
    assert card(tmp_path)["status"] == "running"
    assert card(tmp_path)["result"]["steps"] == 4  # as of the last validation
    fit(tmp_path, model, [RunCard(tmp_path)], max_steps=6, resume=tmp_path / "checkpoints/step_000004.ckpt")
    assert (card(tmp_path)["status"], card(tmp_path)["resumed_at"]) == ("finished", 4)
    assert [session["status"] for session in card(tmp_path)["earlier"]] == ["killed"]


def test_the_choices_come_from_the_files_of_hydra(tmp_path: Path) -> None:
    assert read_hydra_choices(tmp_path) is None
    folder = tmp_path / ".hydra"
    folder.mkdir()
    (folder / "config.yaml").write_text("seed: 0\n")
    (folder / "overrides.yaml").write_text("- +experiment=cat_toy\n- logger.wandb.api_key=abc\n")
    (folder / "hydra.yaml").write_text("hydra: {runtime: {choices: {model: toybox, hydra/launcher: basic}}}\n")
    found = read_hydra_choices(tmp_path)
    assert found is not None
    assert found["overrides"] == ["+experiment=cat_toy", "logger.wandb.api_key=***"]
    assert found["choices"] == {"model": "toybox"}
    assert len(found["config_sha256"]) == 64


@pytest.mark.parametrize("name", ["hub.hf_token", "api_key", "WANDB_API_KEY", "a.password", "client_secret", "x.auth"])
def test_what_is_named_like_a_secret_is_masked(name: str) -> None:
    assert mask_secret(f"{name}=abc") == f"{name}=***"


@pytest.mark.parametrize("argument", ["embedding=token", "concept.placeholder_token=<token>", "--multirun", "seed=0,1"])
def test_what_is_no_secret_is_shown(argument: str) -> None:
    assert mask_secret(argument) == argument


def test_nothing_of_the_environment_is_recorded(
    tmp_path: Path, model: LatentDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_do_not_tell")
    fit(tmp_path, model, [RunCard(tmp_path)], max_steps=1)
    assert "hf_do_not_tell" not in (tmp_path / "run.json").read_text()


def test_git_is_asked_about_the_code_that_runs_and_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "environment.py"
    source.write_text("")
    monkeypatch.setattr(environment, "__file__", str(source))
    assert get_git_state() is None
    checkpoint_identity = {
        f"GIT_{role}_{field}": "a@b" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")
    }
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, env={**os.environ, **checkpoint_identity})
    os.utime(source, (1, 1))  # git would note that it looked
    index = (tmp_path / ".git" / "index").read_bytes()
    clean = get_git_state()
    assert (tmp_path / ".git" / "index").read_bytes() == index, "somebody else may be at work in the repository"
    assert clean is not None
    assert (len(clean["commit"]), clean["dirty"]) == (40, False)
    source.write_text("changed")
    assert get_git_state() == {**clean, "dirty": True}
    monkeypatch.setenv("PATH", "")
    assert get_git_state() is None
