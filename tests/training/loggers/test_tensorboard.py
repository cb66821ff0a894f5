"""TensorBoard has the metrics, sheets, config and embedding metadata of a run."""

from io import BytesIO

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

CONFIG = {"seed": 0, "optimizer": {"lr": 0.005, "betas": [0.9, 0.999]}, "overrides": ["+experiment=cat"]}


@pytest.fixture(scope="module")
def run_and_events(tmp_path_factory, model):
    run = tmp_path_factory.mktemp("logger") / "run"
    logger = TensorBoardLogger(run)
    logger.log_hyperparams(CONFIG)
    samples = Samples(run, PROMPTS, seeds=[0, 3], every_n_steps=4, num_inference_steps=1)
    callbacks = [EmbeddingStats(every_n_steps=2), samples, Export(run)]
    with logging_run([logger]):
        fit(run.parent / "x", model, callbacks, loggers=[CSVLogger(run), logger])
    return run, EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "tensors": 0}).Reload()


def text(events: EventAccumulator, tag: str) -> str:
    return events.Tensors(f"{tag}/text_summary")[-1].tensor_proto.string_val[0].decode()


def test_all_metrics_are_logged_at_their_steps(run_and_events):
    run, events = run_and_events
    table = RunReader(run).metrics
    names = {name for row in table.values() for name in row}
    assert len(names) == 8
    for name in names:
        expected = {step: float(row[name]) for step, row in table.items() if name in row}
        assert {scalar.step: scalar.value for scalar in events.Scalars(name)} == pytest.approx(expected)


def test_sheets_equal_the_files(run_and_events):
    run, events = run_and_events
    assert [image.step for image in events.Images("samples")] == [0, 4, 6]
    sheet = Image.open(run / "samples/step_000004.png").convert("RGB")
    logged = Image.open(BytesIO(events.Images("samples")[1].encoded_image_string))
    assert np.array_equal(np.asarray(logged), np.asarray(sheet))


def test_config_and_embedding_metadata_are_logged(run_and_events):
    _, events = run_and_events
    settings = text(events, "config")
    assert "lr: 0.005" in settings and "+experiment=cat" in settings
    metadata = text(events, "learned/<cat-toy>")
    assert "| `file` | learned_embeds.safetensors |" in metadata
    assert "| `vectors (clip_l)` | 1 |" in metadata and "| `steps` | 6 |" in metadata
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    session = HParamsPluginData.FromString(content).session_start_info
    assert session.hparams["optimizer.lr"].number_value == 0.005
    assert session.hparams["optimizer.betas"].string_value == "[0.9, 0.999]"


def test_the_error_of_a_failed_run_is_logged(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    logger.log_hyperparams({})
    with pytest.raises(UserError), logging_run([logger]):
        raise UserError("the disk is full")
    assert text(EventAccumulator(str(tmp_path / "tensorboard")).Reload(), "error") == "the disk is full"


def test_a_missing_package_raises_with_the_extra(tmp_path, monkeypatch):
    from lightning.pytorch.loggers import TensorBoardLogger as LightningLogger

    def missing(*_, **__):
        raise ModuleNotFoundError("Neither `tensorboard` nor `tensorboardX` is available.")

    monkeypatch.setattr(LightningLogger, "__init__", missing)
    with pytest.raises(UserError, match=r'pip install "tinv\[tensorboard\]"'):
        TensorBoardLogger(tmp_path)
