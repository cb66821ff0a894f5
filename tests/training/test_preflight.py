"""Trainer, optimizer and scheduler are tried before anything slow; each problem names its setting."""

import warnings
from importlib.util import find_spec

import pytest
import torch
from PIL import Image

from tinv.config.validate import ConfigError, build
from tinv.training.preflight import preflight
from tinv.training.try_optimizer import try_optimizer


@pytest.fixture
def attempt(compose):
    def run(overrides: str) -> None:
        cfg = compose("+experiment=cat_toy", "trainer=cpu", *overrides.split())
        try_optimizer(cfg, {"": build(cfg.embedding)})

    return run


@pytest.mark.parametrize(
    "overrides",
    [
        "optimizer=adamw scheduler=cosine_restarts",
        "optimizer=prodigy scheduler=polynomial",
        "optimizer=adafactor scheduler=linear_warmup",
        "optimizer=lion scheduler=text scheduler.schedule=[1e-4:100,5e-5]",
        "optimizer=schedule_free scheduler=constant",
        "optimizer=rsgd embedding.norm=directional scheduler=cosine",
    ],
)
def test_built_in_options_have_no_problems(attempt, overrides):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*srun. command is available.*")  # where Slurm is installed
        attempt(overrides)


needs_no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
needs_no_xla = pytest.mark.skipif(find_spec("torch_xla") is not None, reason="torch_xla is installed")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("optimizer.lr=-1", "optimizer.lr=-1: must be 0 or more."),
        ("optimizer.betas=[2,0.9]", "optimizer.betas=[2, 0.9]: must be below 1"),
        ("trainer=cpu trainer.precision=16-mixed model.dtype=float16", "the CPU of this run cannot train in float16"),
        ("trainer=cpu trainer.precision=16-mixed", "the CPU of this run cannot train in float16"),
        pytest.param("trainer=gpu", "trainer.accelerator=gpu: PyTorch finds no such device", marks=needs_no_cuda),
        pytest.param("trainer=ddp trainer.devices=2", "precision=32-true trainer.devices=2", marks=needs_no_cuda),
        ("optimizer=lion optimizer.lr=0", "optimizer: refuses its settings: assert lr > 0. Correct"),
        (
            "optimizer=adafactor optimizer.relative_step=true",
            "optimizer: refuses its settings: Cannot combine manual `lr`",
        ),
        ("scheduler=text scheduler.schedule='5e-3:10'", "scheduler.schedule"),
        ("scheduler=text scheduler.schedule=quick", "scheduler.schedule"),
        (
            "scheduler=polynomial scheduler.lr_end=1",
            "scheduler: refuses its settings: lr_end (1) must be smaller than initial lr",
        ),
        ("trainer.strategy=dpp", "trainer: refuses its settings: You selected an invalid strategy name"),
        ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0: must be 1 or more"),
        ("+trainer.max_epochs=3", "trainer.max_epochs=3: has no effect"),
        ("optimizer=schedule_free embedding.ema=0.9", "embedding.ema=0.9: this optimizer averages"),
        (
            "optimizer=schedule_free embedding.norm=fixed",
            "embedding.norm=fixed: would constrain the vectors in training",
        ),
        ("embedding.norm=directional", "embedding.norm=directional: requires optimizer=rsgd"),
        ("optimizer=rsgd", "embedding.norm=free: optimizer=rsgd changes only the direction"),
        ("optimizer=rsgd embedding.norm=directional optimizer.kappa=-1", "kappa"),
        ("embedding.average_last=0.2 early_stopping=dvar", "embedding.average_last=0.2: needs a fixed run length"),
        pytest.param("optimizer=adamw8bit", "CUDA", marks=needs_no_cuda),
        pytest.param("trainer=tpu", "trainer=tpu: the package torch_xla is not installed", marks=needs_no_xla),
    ],
)
def test_each_problem_names_its_setting(attempt, overrides, message):
    with pytest.raises(ConfigError) as error:
        attempt(overrides)
    (problem,) = error.value.problems
    assert message in problem


@pytest.mark.parametrize(
    ("overrides", "setting"),
    [
        ("scheduler=constant_warmup scheduler.num_warmup_steps=300", "scheduler.num_warmup_steps=300"),
        ("optimizer=schedule_free optimizer.warmup_steps=500", "optimizer.warmup_steps=500"),
    ],
)
def test_warm_up_longer_than_the_run_is_warned_of(attempt, overrides, setting):
    with pytest.warns(UserWarning, match=f"{setting}: the learning rate never reaches optimizer.lr"):
        attempt(overrides)


@pytest.mark.parametrize(
    ("model", "side", "warns"), [("toybox", 512, True), ("toybox", 64, False), ("local", 512, False)]
)
def test_photographs_for_the_toybox_are_warned_of(compose, pipeline_folder, tmp_path, model, side, warns):
    Image.new("RGB", (side, side + 8)).save(tmp_path / "duck.jpg")
    concept = "concept.placeholder_token=my-duck concept.initializer_token=toy"
    overrides = [f"model={model}", "name=duck", *concept.split(), f"data.folder={tmp_path}", "callbacks=none"]
    cfg = compose(*overrides, *([f"model.pretrained={pipeline_folder}"] if model == "local" else []))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        preflight(cfg)
    messages = [str(warning.message) for warning in caught if "model=toybox" in str(warning.message)]
    assert len(messages) == warns
    assert all("64 pixels only" in message and "duck.jpg has 512 x 520 pixels" in message for message in messages)


@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_more_gpus_than_there_are_are_refused(attempt, monkeypatch, accelerator):
    """The count is a setting of the machine, which a test cannot change otherwise."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"trainer.devices=4: this machine has 2. Set trainer.devices=auto"):
        attempt(f"trainer.accelerator={accelerator} trainer.devices=4")
