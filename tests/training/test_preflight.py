"""What moves the rows is tried before anything slow: each objection in words, naming its setting."""

import warnings
from importlib.util import find_spec

import pytest
import torch

from tinv.config.validate import ConfigError, build
from tinv.training.try_optimizer import try_optimizer

CAT = "+experiment=cat_toy"


@pytest.fixture
def rehearsed(compose):
    def run(*overrides: str) -> None:
        cfg = compose(CAT, "trainer=cpu", *overrides)
        try_optimizer(cfg, {"": build(cfg.embedding)})

    return run


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [
        ("adamw", "cosine_restarts"),
        ("prodigy", "polynomial"),
        ("adafactor", "linear_warmup"),
        ("lion", "text scheduler.schedule=[1e-4:100,5e-5]"),
        ("schedule_free", "constant"),
        ("rsgd embedding.norm=directional", "cosine"),
    ],
)
def test_what_ships_is_heard_without_a_word(rehearsed, optimizer, scheduler):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*srun. command is available.*")  # where Slurm is installed
        rehearsed(*f"optimizer={optimizer}".split(), *f"scheduler={scheduler}".split())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["optimizer.lr=-1"], "optimizer: Invalid learning rate: -1"),
        (["optimizer=lion", "optimizer.lr=0"], "optimizer: assert lr > 0."),
        (["optimizer=adafactor", "optimizer.relative_step=true"], "optimizer: Cannot combine manual `lr`"),
        (["scheduler=text", "scheduler.schedule='5e-3:10'"], "scheduler.schedule ends at step 10, but the run has 300"),
        (["scheduler=text", "scheduler.schedule=quick"], "scheduler.schedule: 'quick' must begin with a rate"),
        (["scheduler=polynomial", "scheduler.lr_end=1"], "scheduler: lr_end (1) must be smaller than initial lr"),
        (["trainer.strategy=dpp"], "trainer: You selected an invalid strategy name"),
        (["trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches must be 1 or more, got 0"),
        (["+trainer.max_epochs=3"], "one epoch is the whole run; set trainer.max_steps"),  # E-30: num_train_epochs
        (["optimizer=schedule_free", "embedding.ema=0.9"], "embedding.ema: this optimizer averages the rows by itself"),
        (["optimizer=schedule_free", "embedding.norm=fixed"], "embedding.norm=fixed would hold the rows"),
        (["embedding.norm=directional"], "which is optimizer=rsgd's to do; take that, or embedding.norm=fixed"),
        (["optimizer=rsgd"], "got embedding.norm=free; set that, or take optimizer=adamw"),
        (["optimizer=rsgd", "embedding.norm=directional", "optimizer.kappa=-1"], "optimizer: kappa must be 0 or more"),
    ],
)
def test_each_objection_names_its_setting(rehearsed, overrides, said):
    with pytest.raises(ConfigError) as caught:
        rehearsed(*overrides)
    assert len(caught.value.problems) == 1
    assert said in caught.value.problems[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_eight_bit_adam_without_a_cuda_device_is_refused_in_words(rehearsed):
    with pytest.raises(ConfigError, match="optimizer=adamw8bit needs the rows on a CUDA device, they are on cpu"):
        rehearsed("optimizer=adamw8bit")


@pytest.mark.skipif(find_spec("torch_xla") is not None, reason="torch_xla is installed")
def test_a_tpu_without_torch_xla_is_refused_in_one_sentence(rehearsed):
    with pytest.raises(ConfigError, match="trainer=tpu needs the package torch_xla, which is not installed"):
        rehearsed("trainer=tpu")


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["scheduler=constant_warmup", "scheduler.num_warmup_steps=300"], "scheduler.num_warmup_steps=300"),
        (["optimizer=schedule_free", "optimizer.warmup_steps=500"], "optimizer.warmup_steps=500"),
    ],
)
def test_a_warm_up_that_outlasts_the_run_is_warned_of(rehearsed, overrides, named):
    with pytest.warns(UserWarning, match=f"{named}: the run ends at step 300, before the rate has risen"):
        rehearsed(*overrides)
