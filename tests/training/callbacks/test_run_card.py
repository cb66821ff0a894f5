"""run.json records what ran and how it ended, and no secrets."""

import json
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from lightning.pytorch import Callback

from tests.training.callbacks.fitting import Interrupt, fit
from tinv.training.callbacks import Checkpoints, EmbeddingStats, RunCard, Samples
from tinv.training.callbacks.timing import Stopwatch, time_phase


def card(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def test_the_card_of_a_finished_run(tmp_path, model):
    samples = Samples(tmp_path, ["a {}"], [0], num_inference_steps=1)
    callbacks = [RunCard(tmp_path), EmbeddingStats(), samples, Checkpoints(tmp_path)]
    with time_phase(callbacks, "loading"):
        pass
    fit(tmp_path, model, callbacks, max_steps=4, accumulate=3)
    content = card(tmp_path)
    concept = {"placeholder_token": "<cat-toy>", "initializer_token": "toy", "kind": "object"}
    assert content["concept"] == concept | {"num_vectors": {"clip_l": 1}}
    assert content["model"] == {"name": model.name, "fingerprint": model.fingerprint}
    assert (content["status"], content["images"]) == ("finished", ["0.png", "1.png", "2.png"])
    assert (content["effective_batch"], content["images_seen"], content["max_steps"]) == (6, 24, 4)
    result = content["result"]
    assert result["steps"] == result["embedding_stats"]["step"] == 4 and result["val/loss"] > 0
    phases = {"loading", "training", "validation", "sampling", "saving", "total"}
    assert set(content["cpu_seconds"]) == set(content["seconds"]) == phases
    parts = [seconds for phase, seconds in content["seconds"].items() if phase != "total"]
    assert sum(parts) <= content["seconds"]["total"] + 0.1
    assert content["versions"]["torch"].startswith("2.") and content["machine"]["device"] == "cpu"


class Sleeper(Callback):
    """Sleeps at two steps; the second is timed as a phase."""

    def __init__(self) -> None:
        self.stopwatch = Stopwatch()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 1:
            sleep(0.4)
        if trainer.global_step == 2:
            with self.stopwatch("evaluating"):
                sleep(2)


def test_phases_do_not_overlap_and_sleeping_takes_no_cpu_time(tmp_path, model):
    fit(tmp_path, model, [RunCard(tmp_path), Sleeper()], max_steps=3)
    wall, cpu = card(tmp_path)["seconds"], card(tmp_path)["cpu_seconds"]
    assert wall["evaluating"] >= 2 and cpu["evaluating"] < 0.5
    assert 0.4 <= wall["training"] <= wall["total"] - wall["evaluating"]
    assert 0 < cpu["training"] <= cpu["total"]


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("no disk"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_the_card_of_a_failed_run_has_the_reason(tmp_path, model, error, status):
    with pytest.raises((RuntimeError, SystemExit)):
        fit(tmp_path, model, [RunCard(tmp_path), Interrupt(2, error)])
    content, reason = card(tmp_path), f"{type(error).__name__}: {error}".removesuffix(": ")
    assert (content["status"], content["reason"], content["result"]["steps"]) == (status, reason, 2)


def test_a_resumed_run_lists_the_killed_session(tmp_path, model):
    class CopyCard(Interrupt):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 5:
                (tmp_path / "as_killed.json").write_bytes((tmp_path / "run.json").read_bytes())

    fit(tmp_path, model, [RunCard(tmp_path), Checkpoints(tmp_path, 2), CopyCard(5, RuntimeError())], max_steps=6)
    (tmp_path / "as_killed.json").replace(tmp_path / "run.json")
    assert (card(tmp_path)["status"], card(tmp_path)["result"]["steps"]) == ("running", 4)  # of the last validation
    fit(tmp_path, model, [RunCard(tmp_path)], max_steps=6, resume=tmp_path / "checkpoints/step_000004.ckpt")
    assert (card(tmp_path)["status"], card(tmp_path)["resumed_at"]) == ("finished", 4)
    assert [session["status"] for session in card(tmp_path)["earlier"]] == ["killed"]


def test_nothing_of_the_environment_is_recorded(tmp_path, model, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_do_not_tell")
    fit(tmp_path, model, [RunCard(tmp_path)], max_steps=1)
    assert "hf_do_not_tell" not in (tmp_path / "run.json").read_text()
