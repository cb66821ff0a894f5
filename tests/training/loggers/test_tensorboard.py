"""TensorBoard has the numbers, sheets and words of a run, its settings, and what is known of the result."""

import sys

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from tests.training.callbacks.fitting import fit
from tests.training.loggers.test_wandb import PROMPTS
from tinv.errors import UserError
from tinv.runs.reader import RunReader
from tinv.training.callbacks import EmbeddingStats, Export, Samples
from tinv.training.loggers.base import logging_run
from tinv.training.loggers.csv_logger import CSVLogger
from tinv.training.loggers.tensorboard import TensorBoardLogger

SETTINGS = {
    "seed": 0,
    "monitor": "val/loss",
    "optimizer": {"lr": 0.005, "betas": [0.9, 0.999]},
    "overrides": ["+experiment=cat"],
}


@pytest.fixture(scope="module")
def learned(tmp_path_factory, model):
    run = tmp_path_factory.mktemp("board") / "run"
    board = TensorBoardLogger(run)
    board.log_hyperparams(SETTINGS)
    callbacks = [
        EmbeddingStats(every_n_steps=2),
        Samples(run, PROMPTS, seeds=[0, 3], every_n_steps=4, num_inference_steps=1),
        Export(run),
    ]
    with logging_run([board]):
        fit(run.parent / "x", model, callbacks, loggers=[CSVLogger(run), board])
    return run, EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "tensors": 0}).Reload()


def text(events: EventAccumulator, tag: str) -> str:
    return events.Tensors(f"{tag}/text_summary")[-1].tensor_proto.string_val[0].decode()


def test_every_number_of_the_table_is_there_at_its_step(learned):
    run, events = learned
    table = RunReader(run).metrics
    names = {name for row in table.values() for name in row}
    assert len(names) == 8
    for name in names:
        expected = {step: float(row[name]) for step, row in table.items() if name in row}
        assert {scalar.step: scalar.value for scalar in events.Scalars(name)} == pytest.approx(expected)


def test_the_sheets_are_those_on_disk(learned):
    run, events = learned
    assert [image.step for image in events.Images("samples")] == [0, 4, 6]
    with Image.open(run / "samples/step_000004.png") as sheet:
        shown = events.Images("samples")[1].encoded_image_string
        (run / "shown.png").write_bytes(shown)
        assert np.array_equal(np.asarray(Image.open(run / "shown.png")), np.asarray(sheet.convert("RGB")))


def test_the_settings_and_the_word_can_be_read(learned):
    _, events = learned
    settings = text(events, "config")
    assert "lr: 0.005" in settings and "+experiment=cat" in settings
    word = text(events, "learned/<cat-toy>")
    assert "| `file` | learned_embeds.safetensors |" in word
    assert "| `vectors (clip_l)` | 1 |" in word and "| `steps` | 6 |" in word
    written = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    session = HParamsPluginData.FromString(written).session_start_info
    assert session.hparams["optimizer.lr"].number_value == 0.005
    assert session.hparams["optimizer.betas"].string_value == "[0.9, 0.999]"


def test_what_a_run_failed_of_can_be_read(tmp_path):
    board = TensorBoardLogger(tmp_path)
    board.log_hyperparams({})
    with pytest.raises(UserError), logging_run([board]):
        raise UserError("the disk is full")
    assert text(EventAccumulator(str(tmp_path / "tensorboard")).Reload(), "error") == "the disk is full"


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    from lightning.pytorch.loggers import TensorBoardLogger as LightningLogger

    def missing(*_, **__):
        raise ModuleNotFoundError("Neither `tensorboard` nor `tensorboardX` is available.")

    monkeypatch.setattr(LightningLogger, "__init__", missing)
    with pytest.raises(UserError, match=r'pip install "tinv\[tensorboard\]"'):
        TensorBoardLogger(tmp_path)
    assert "tensorboard" in sys.modules
