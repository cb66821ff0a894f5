"""A processor that has no instructions for half precision is told of before hours are lost on it."""

import warnings

import pytest
import torch

from tinv.models import cpu_features as processor
from tinv.toybox.sampling import load_pipeline, sample
from tinv.training.preflight import preflight


@pytest.fixture
def no_half(monkeypatch):
    """A processor that knows float32 alone, and no other device."""
    monkeypatch.setattr(processor, "multiplies", lambda dtype: dtype == "float32")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("dtype", "precision", "named"),
    [
        ("bfloat16", "32-true", "model.dtype=bfloat16:"),
        ("bfloat16", None, "model.dtype=bfloat16:"),
        ("float32", "bf16-mixed", "trainer.precision=bf16-mixed:"),
        ("bfloat16", "bf16-true", "model.dtype=bfloat16 and trainer.precision=bf16-true:"),
    ],
)
@pytest.mark.parametrize("accelerator", [None, "auto", "cpu"])
def test_emulated_numbers_are_named_with_what_to_write(no_half, dtype, precision, named, accelerator):
    with pytest.warns(UserWarning, match=f"{named}.*write model.dtype=float32"):
        processor.warn_of_emulation(dtype, precision, accelerator)


@pytest.mark.parametrize(
    ("dtype", "precision", "accelerator"),
    [("float32", "32-true", "cpu"), (None, None, None), ("bfloat16", "32-true", "gpu"), ("bfloat16", None, "tpu")],
)
def test_nothing_is_said_of_float32_and_of_other_devices(no_half, dtype, precision, accelerator):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        processor.warn_of_emulation(dtype, precision, accelerator)


def test_what_a_processor_multiplies_is_what_torch_says_of_it():
    assert processor.has_matmul("float32")
    if torch.backends.mkldnn.is_available():
        assert processor.has_matmul("bfloat16") == torch.ops.mkldnn._is_mkldnn_bf16_supported()


@pytest.mark.parametrize("known", [["float32"], ["float32", "bfloat16"]])
def test_the_toybox_draws_in_bfloat16_only_where_it_is_not_emulated(monkeypatch, known):
    monkeypatch.setattr(processor, "multiplies", lambda dtype: dtype in known)
    seen = []
    pipeline = load_pipeline()
    pipeline.unet.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    sample(pipeline, ["a cat"], steps=1)
    assert seen == ["bfloat16" in known]


def test_a_run_that_would_be_emulated_is_warned_of_before_the_model_loads(no_half, compose):
    with pytest.warns(UserWarning, match="model.dtype=bfloat16"):
        preflight(compose("+experiment=cat_toy", "trainer=cpu", "model.dtype=bfloat16"))
