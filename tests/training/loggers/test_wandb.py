"""A W&B run has the metrics, samples and embedding of the run folder, at the same steps."""

import contextlib
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
from tests.training.loggers.reading import Session, read_sessions
from tinv.errors import UserError
from tinv.models import LatentDiffusion
from tinv.runs.image_grid import read_grid_images, read_grid_labels
from tinv.runs.reader import RunReader
from tinv.training.callbacks import Checkpoints, EmbeddingStats, Export, Samples
from tinv.training.loggers.base import logging_run
from tinv.training.loggers.csv_logger import CSVLogger
from tinv.training.loggers.wandb import WandbLogger
from tinv.training.loggers.wandb_run import WandbRun

PROMPTS = ["a photo of a {}", "a {} on the beach"]
STEP = "trainer/global_step"


def learn(run: Path, model: LatentDiffusion, *others: Any, settings: dict[str, Any] | None = None, **options: Any):
    """Trains with a logger, like `tinv.training.run`."""
    logger = WandbLogger(run, name="cat", mode="offline", tags=["first"])
    logger.log_hyperparams(settings or {})
    samples = Samples(run, PROMPTS, seeds=[0, 3], every_n_steps=4, num_inference_steps=1)
    callbacks = [EmbeddingStats(every_n_steps=2), samples, Export(run), Checkpoints(run, every_n_steps=2), *others]
    with contextlib.suppress(RuntimeError), logging_run([logger]):
        fit(run.parent / "x", model, callbacks, loggers=[CSVLogger(run), logger], **options)


def read_table(run: Path) -> dict[int, dict[str, float]]:
    """Returns metrics.csv as numbers."""
    rows = sorted(RunReader(run).metrics.items())
    return {step: {name: float(value) for name, value in row.items()} | {STEP: step} for step, row in rows}


@pytest.fixture(scope="module")
def complete(tmp_path_factory, model):
    """The folder of a run of six steps of two micro-batches each."""
    os.environ["WANDB_SILENT"] = "true"
    run = tmp_path_factory.mktemp("complete") / "run"
    settings = {"optimizer": {"lr": 0.005}, "overrides": ["+experiment=cat"], "seed": 0}
    learn(run, model, accumulate=2, settings=settings)
    return run


@pytest.fixture(scope="module")
def session(complete) -> Session:
    return read_sessions(complete)[0]


def check_sessions(run: Path, complete: Path) -> list[Session]:
    """Returns the two sessions of a run; together they have every step of an uninterrupted run once."""
    first, second = read_sessions(run)
    assert first.order + second.order == list(range(7))
    assert first.metrics_by_step() | second.metrics_by_step() == read_table(run) == read_table(complete)
    sheets = [step for part in (first, second) for step, row in part.history.items() if "samples/path" in row]
    assert sheets == [0, 4, 6] and second.run.run_id == (run / "wandb_run_id").read_text()
    return [first, second]


def test_metrics_equal_the_table_and_every_chart_has_the_step_as_its_x_axis(complete, session):
    assert session.order == sorted(set(session.order))
    assert session.metrics_by_step() == read_table(complete)
    assert {"train/loss", "train/lr", "embedding/norm", "samples/black"} <= set(session.history[4])
    assert "val/loss" in session.history[6]
    assert session.metrics["*"].step_metric == STEP
    assert all(row[STEP] == row["_step"] == step for step, row in session.history.items())


def test_sheets_equal_the_files_at_their_steps(complete, session):
    sheets = {step: row["samples/caption"] for step, row in session.history.items() if "samples/path" in row}
    assert sheets == {0: "step 0", 4: "step 4", 6: "step 6"}
    for step in sheets:
        path = session.file("samples", step)
        assert f"samples_{step}_" in path.name
        assert np.array_equal(Image.open(path), Image.open(complete / f"samples/step_{step:06d}.png"))


def test_the_sample_table_has_a_row_per_prompt_and_seed(complete, session):
    table, files = session.table(1)
    assert table["columns"] == ["step", "prompt", "seed", "image"]
    cells = [(prompt.replace("{}", "<cat-toy>"), seed) for prompt in PROMPTS for seed in (0, 3)]
    assert [tuple(row[:3]) for row in table["data"]] == [(4, *cell) for cell in cells]
    sheet = complete / "samples/step_000004.png"
    images = read_grid_images(sheet, read_grid_labels(sheet))
    for (_, prompt, seed, image), expected in zip(table["data"], images, strict=True):
        assert image["caption"] == f"{prompt}, seed {seed}"
        assert np.array_equal(Image.open(files[image["path"]]), expected)
    assert not np.array_equal(images[0], images[1])


def test_all_offline_files_are_in_the_run_folder(complete, session):
    entries = [entry for artifact in session.artifacts for entry in artifact.manifest.contents]
    assert entries and all(Path(entry.local_path).is_relative_to(complete) for entry in entries)
    assert "WANDB_DATA_DIR" not in os.environ


def test_the_embedding_is_an_artifact_with_its_metadata(complete, session):
    (artifact,) = [recorded for recorded in session.artifacts if recorded.type == "embedding"]
    metadata = json.loads(artifact.metadata)
    assert artifact.name == f"cat-toy-{session.run.run_id}"
    assert set(artifact.aliases) == {"latest", "step-6"}
    assert (metadata["placeholder_token"], metadata["vectors"]) == ("<cat-toy>", {"clip_l": 1})
    assert (metadata["steps"], metadata["seed"], metadata["kind"]) == ("6", "0", "object")
    assert metadata["base_model"] and metadata["fingerprint"]
    (entry,) = artifact.manifest.contents
    assert entry.path == "learned_embeds.safetensors"
    assert entry.size == (complete / "learned_embeds.safetensors").stat().st_size


def test_the_run_has_name_config_and_exit_code(session):
    assert (session.run.display_name, session.run.project, list(session.run.tags)) == ("cat", "tinv", ["first"])
    assert session.config["optimizer"] == {"lr": 0.005} and session.config["overrides"] == ["+experiment=cat"]
    assert len(session.summary["embedding/nearest/<cat-toy>"].split(", ")) == 5 and session.exit_code == 0


def test_a_failed_and_resumed_run_is_one_run_without_gaps(tmp_path, model, complete):
    run = tmp_path / "run"
    learn(run, model, Interrupt(5, RuntimeError("the disk is full")), accumulate=2)
    learn(run, model, accumulate=2, resume=run / "checkpoints/step_000004.ckpt")
    first, second = check_sessions(run, complete)
    assert first.run.run_id == second.run.run_id and (first.exit_code, second.exit_code) == (1, 0)
    assert first.summary["error"] == "RuntimeError: the disk is full"


def kill_clients() -> None:
    """Kills W&B's processes, as a signal to all processes of a job does."""
    clients = [child for child in psutil.Process().children(recursive=True) if "wandb-core" in child.name()]
    assert clients
    for client in clients:
        client.terminate()
    psutil.wait_procs(clients, timeout=30)


def test_the_next_client_sends_what_a_killed_client_had_not_written(tmp_path, model, complete):
    run = tmp_path / "run"

    class Kill(Interrupt):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == self.after_steps:
                trainer.loggers[0].flush()
                self.after_steps = -1
                kill_clients()

    with pytest.warns(UserWarning, match="restarting it"):
        learn(run, model, Kill(5, RuntimeError()), accumulate=2)
    assert [part.exit_code for part in check_sessions(run, complete)] == [None, 0]


def test_rows_are_sent_again_if_the_client_is_killed_at_the_end(tmp_path, logger):
    table = CSVLogger(tmp_path)
    for step in range(4):
        for each in (table, logger):
            each.log_metrics({"train/loss": 1.0 / (step + 1)}, step)
    table.flush()
    kill_clients()
    with pytest.warns(UserWarning, match="restarting it"):
        logger.finish(None)
    recorded = read_sessions(tmp_path)
    assert [step for part in recorded for step in part.order] == [0, 1, 2, 3]
    assert {step: row for part in recorded for step, row in part.metrics_by_step().items()} == read_table(tmp_path)
    assert recorded[-1].exit_code == 0


def test_a_run_continues_without_a_client(logger, monkeypatch):
    monkeypatch.setattr(logger.run.wandb, "init", lambda **_: (_ for _ in ()).throw(OSError("no room")))
    kill_clients()
    time.sleep(1)
    logger.log_metrics({"a": 1.0}, 0)
    with pytest.warns(UserWarning, match=r"continues without it; metrics\.csv has all metrics"):
        logger.log_metrics({"a": 1.0}, 5)
    logger.log_metrics({"a": 1.0}, 9)
    logger.finish(None)
    assert logger.run.wandb.run is None


def test_late_rows_are_sent_in_order(tmp_path, logger):
    """Lightning logs the loss of step 3 after the callbacks have logged step 4."""
    for name, step in {"a": 0, "b": 0, "d": 1, "c": 0, "stat": 4, "loss": 3, "val": 4, "e": 9, "late": 2}.items():
        logger.log_metrics({name: float(step), "epoch": 0.0}, step)
    logger.finish(None)
    (recorded,) = read_sessions(tmp_path)
    names = {step: sorted(set(row) - {STEP}) for step, row in recorded.metrics_by_step().items()}
    assert names == {0: ["a", "b", "c"], 1: ["d"], 3: ["loss"], 4: ["stat", "val"], 9: ["e"]}


def test_a_sweep_point_has_name_and_group_even_if_it_failed_before_it_started(point):
    run = point({"optimizer.lr": "1e30", "embedding.num_vectors": "2"}, number=1)
    WandbLogger(run, name="cat", mode="offline").finish(UserError("the rate is too high"))
    (recorded,) = read_sessions(run)
    assert recorded.run.display_name == "cat lr=1e30 num_vectors=2"
    assert recorded.run.run_group == "2026-11-22_20-00-00-0123456789ab"
    assert (recorded.exit_code, recorded.summary["error"]) == (1, "the rate is too high")


def test_an_interrupted_run_did_not_fail(tmp_path, logger):
    logger.finish(KeyboardInterrupt())
    assert read_sessions(tmp_path)[0].exit_code == 255


def test_disabled_and_a_single_run_that_failed_before_it_started_write_nothing(tmp_path):
    WandbLogger(tmp_path, name="cat", mode="offline").finish(UserError("no such folder"))
    logger = WandbLogger(tmp_path, name="cat", mode="disabled")
    logger.log_hyperparams({"seed": 0})
    logger.log_metrics({"train/loss": 1.0}, 0)
    logger.log_texts("nearest", {"<cat>": "toy"}, 0)
    logger.finish(None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"\xff1234567", b"a/b", bytes(8)])
def test_a_damaged_id_starts_another_run_with_a_warning(tmp_path, content):
    (tmp_path / "wandb_run_id").write_bytes(content)
    run = WandbRun(tmp_path, mode="offline", project={}, details={})
    with pytest.warns(UserWarning, match="wandb_run_id is damaged"):
        run_id = run._stored_id()
    assert run_id == (tmp_path / "wandb_run_id").read_text() == run._stored_id()
