"""Weights & Biases has what `metrics.csv` and the run's folder have, at the same steps, under one id."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.training.callbacks.fitting import Interrupt, fit
from tests.training.loggers.reading import Session, sessions
from tinv.errors import UserError
from tinv.models import LatentDiffusion
from tinv.runs.image_grid import read_grid_images, read_grid_labels
from tinv.runs.reader import RunReader
from tinv.training.callbacks import Checkpoints, EmbeddingStats, Export, Samples
from tinv.training.loggers.csv_logger import CSVLogger
from tinv.training.loggers.wandb import WandbLogger

PROMPTS = ["a photo of a {}", "a {} on the beach"]
STEP = "trainer/global_step"


def learn(run: Path, model: LatentDiffusion, *others: Any, settings: dict[str, Any] | None = None, **options: Any):
    """A run with its board, as `tinv.training.run` has it."""
    board = WandbLogger(run, name="cat", mode="offline", tags=["first"])
    board.log_hyperparams(settings or {})
    callbacks = [
        EmbeddingStats(every_n_steps=2),
        Samples(run, PROMPTS, seeds=[0, 3], every_n_steps=4, num_inference_steps=1),
        Export(run),
        Checkpoints(run, every_n_steps=2),
        *others,
    ]
    try:
        fit(run.parent / "x", model, callbacks, loggers=[CSVLogger(run), board], **options)
    except RuntimeError as error:
        board.finish(error)
    else:
        board.finish(None)


def in_the_table(run: Path) -> dict[int, dict[str, float]]:
    """metrics.csv as numbers."""
    return {
        step: {n: float(v) for n, v in row.items()} | {STEP: step}
        for step, row in sorted(RunReader(run).metrics.items())
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory, model):
    """A run of six steps of two micro-batches each."""
    os.environ["WANDB_SILENT"] = "true"
    run = tmp_path_factory.mktemp("whole") / "run"
    settings = {"optimizer": {"lr": 0.005}, "overrides": ["+experiment=cat"], "seed": 0}
    learn(run, model, accumulate=2, settings=settings)
    return run


@pytest.fixture(scope="module")
def session(whole) -> Session:
    (found,) = sessions(whole)
    return found


def test_every_number_of_the_table_is_there_at_its_step_and_no_other(whole, session):
    assert session.order == sorted(set(session.order))
    assert session.numbers() == in_the_table(whole)
    assert {"train/loss", "train/lr", "embedding/norm", "samples/black"} <= set(session.history[4])
    assert "val/loss" in session.history[6]


def test_every_chart_has_the_training_step_under_it(session):
    assert session.metrics["*"].step_metric == STEP
    assert all(row[STEP] == row["_step"] == step for step, row in session.history.items())


def test_the_sheets_are_at_the_steps_of_the_files_and_look_like_them(whole, session):
    """E-32: in the reference script they bear no step, and the next numbers another."""
    sheets = {step: row["samples/caption"] for step, row in session.history.items() if "samples/path" in row}
    assert sheets == {0: "step 0", 4: "step 4", 6: "step 6"}
    for step in sheets:
        kept = session.file("samples", step)
        assert f"samples_{step}_" in kept.name
        assert np.array_equal(Image.open(kept), Image.open(whole / f"samples/step_{step:06d}.png"))


def test_the_table_has_a_row_for_each_prompt_and_seed(whole, session):
    table, files = session.table(1)
    assert table["columns"] == ["step", "prompt", "seed", "image"]
    asked = [(prompt.replace("{}", "<cat-toy>"), seed) for prompt in PROMPTS for seed in (0, 3)]
    assert [tuple(row[:3]) for row in table["data"]] == [(4, *one) for one in asked]
    sheet = whole / "samples/step_000004.png"
    drawn = read_grid_images(sheet, read_grid_labels(sheet))
    for (_, prompt, seed, picture), own in zip(table["data"], drawn, strict=True):
        assert picture["caption"] == f"{prompt}, seed {seed}"
        assert np.array_equal(Image.open(files[picture["path"]]), own)
    assert not np.array_equal(drawn[0], drawn[1])


def test_all_that_is_to_be_sent_later_is_in_the_run_s_own_folder(whole, session):
    entries = [entry for artifact in session.artifacts for entry in artifact.manifest.contents]
    assert entries
    assert all(Path(entry.local_path).is_relative_to(whole) for entry in entries)
    assert "WANDB_DATA_DIR" not in os.environ


def test_the_word_is_an_artifact_that_says_what_it_is(whole, session):
    (artifact,) = [found for found in session.artifacts if found.type == "embedding"]
    metadata = json.loads(artifact.metadata)
    assert artifact.name == f"cat-toy-{session.run.run_id}"
    assert set(artifact.aliases) == {"latest", "step-6"}
    assert (metadata["placeholder_token"], metadata["vectors"]) == ("<cat-toy>", {"clip_l": 1})
    assert (metadata["steps"], metadata["seed"], metadata["kind"]) == ("6", "0", "object")
    assert metadata["base_model"] and metadata["fingerprint"]
    (entry,) = artifact.manifest.contents
    assert entry.path == "learned_embeds.safetensors"
    assert entry.size == (whole / "learned_embeds.safetensors").stat().st_size


def test_the_run_says_what_it_is_and_how_it_ended(session):
    assert (session.run.display_name, session.run.project, list(session.run.tags)) == ("cat", "tinv", ["first"])
    assert session.config["optimizer"] == {"lr": 0.005}
    assert session.config["overrides"] == ["+experiment=cat"]
    assert len(session.summary["embedding/nearest/<cat-toy>"].split(", ")) == 5
    assert session.exit_code == 0


def test_a_run_that_failed_and_goes_on_is_one_run_without_a_gap_or_a_step_twice(tmp_path, model, whole):
    run = tmp_path / "run"
    learn(run, model, Interrupt(5, RuntimeError("the disk is full")), accumulate=2)
    learn(run, model, accumulate=2, resume=run / "checkpoints/step_000004.ckpt")
    first, second = sessions(run)
    assert first.run.run_id == second.run.run_id == (run / "wandb_run_id").read_text()
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert first.summary["error"] == "RuntimeError: the disk is full"
    assert first.order + second.order == list(range(7))
    assert first.numbers() | second.numbers() == in_the_table(run) == in_the_table(whole)
    sheets = [step for part in (first, second) for step, row in part.history.items() if "samples/path" in row]
    assert sheets == [0, 4, 6]


def kill_clients() -> None:
    """As a signal to all processes of a job does."""
    found = [child for child in psutil.Process().children(recursive=True) if "wandb-core" in child.name()]
    assert found
    for client in found:
        client.terminate()
    psutil.wait_procs(found, timeout=30)


def test_what_a_killed_client_had_not_written_comes_with_the_next_one(tmp_path, model, whole):
    run = tmp_path / "run"

    class Kill(Interrupt):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == self.after_steps:
                trainer.loggers[0].flush()
                self.after_steps = -1
                kill_clients()

    with pytest.warns(UserWarning, match="restarting it"):
        learn(run, model, Kill(5, RuntimeError()), accumulate=2)
    first, second = sessions(run)
    assert first.order + second.order == list(range(7))
    assert first.numbers() | second.numbers() == in_the_table(run) == in_the_table(whole)
    sheets = [step for part in (first, second) for step, row in part.history.items() if "samples/path" in row]
    assert sheets == [0, 4, 6]
    assert second.run.run_id == (run / "wandb_run_id").read_text()
    assert (first.exit_code, second.exit_code) == (None, 0)


def test_what_a_client_had_in_hand_when_it_was_killed_at_the_end_is_sent_again(tmp_path):
    table, board = CSVLogger(tmp_path), WandbLogger(tmp_path, name="x", mode="offline")
    board.log_hyperparams({})
    for step in range(4):
        for logger in (table, board):
            logger.log_metrics({"train/loss": 1.0 / (step + 1)}, step)
    table.flush()
    kill_clients()
    with pytest.warns(UserWarning, match="restarting it"):
        board.finish(None)
    found = sessions(tmp_path)
    assert [step for part in found for step in part.order] == [0, 1, 2, 3]
    assert {step: row for part in found for step, row in part.numbers().items()} == in_the_table(tmp_path)
    assert found[-1].exit_code == 0


def test_a_run_whose_client_cannot_live_goes_on_without(tmp_path, monkeypatch):
    board = WandbLogger(tmp_path, name="x", mode="offline")
    board.log_hyperparams({})
    monkeypatch.setattr(board.run.wandb, "init", lambda **_: (_ for _ in ()).throw(OSError("no room")))
    kill_clients()
    time.sleep(1)
    board.log_metrics({"a": 1.0}, 0)
    with pytest.warns(UserWarning, match=r"continues without it; metrics\.csv has all metrics"):
        board.log_metrics({"a": 1.0}, 5)
    board.log_metrics({"a": 1.0}, 9)
    board.finish(None)
    assert board.run.wandb.run is None


def test_rows_that_come_late_are_put_in_their_place(tmp_path):
    """Lightning logs the loss of step 3 after the callbacks have logged what came of it, as of step 4."""
    board = WandbLogger(tmp_path, name="x", mode="offline")
    board.log_hyperparams({})
    for name, step in {"a": 0, "b": 0, "d": 1, "c": 0, "vital": 4, "loss": 3, "val": 4, "e": 9, "late": 2}.items():
        board.log_metrics({name: float(step), "epoch": 0.0}, step)
    board.finish(None)
    (found,) = sessions(tmp_path)
    names = {step: sorted(set(row) - {STEP}) for step, row in found.numbers().items()}
    assert names == {0: ["a", "b", "c"], 1: ["d"], 3: ["loss"], 4: ["val", "vital"], 9: ["e"]}


def test_a_point_has_its_sweep_s_name_and_group_even_if_it_failed_before_it_began(point):
    run = point({"optimizer.lr": "1e30", "embedding.num_vectors": "2"}, number=1)
    WandbLogger(run, name="cat", mode="offline").finish(UserError("the rate is too high"))
    (found,) = sessions(run)
    assert found.run.display_name == "cat lr=1e30 num_vectors=2"
    assert found.run.run_group == "2026-11-22_20-00-00-0123456789ab"
    assert (found.exit_code, found.summary["error"]) == (1, "the rate is too high")


def test_a_single_run_that_could_not_begin_leaves_nothing(tmp_path):
    WandbLogger(tmp_path, name="cat", mode="offline").finish(UserError("no such folder"))
    assert not list(tmp_path.iterdir())


def test_a_run_that_somebody_ended_did_not_fail(tmp_path):
    board = WandbLogger(tmp_path, name="cat", mode="offline")
    board.log_hyperparams({})
    board.finish(KeyboardInterrupt())
    assert sessions(tmp_path)[0].exit_code == 255


def test_disabled_writes_nothing(tmp_path):
    board = WandbLogger(tmp_path, name="cat", mode="disabled")
    board.log_hyperparams({"seed": 0})
    board.log_metrics({"train/loss": 1.0}, 0)
    board.log_texts("nearest", {"<cat>": "toy"}, 0)
    board.finish(None)
    assert not list(tmp_path.iterdir())
