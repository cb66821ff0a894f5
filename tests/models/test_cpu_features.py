"""A run that the CPU can only emulate is warned of before hours are lost."""

import warnings

import pytest
import torch

from tinv.models import cpu_features
from tinv.toybox.sampling import load_pipeline, sample
from tinv.training.preflight import preflight


@pytest.fixture
def only_float32(monkeypatch):
    """A CPU that multiplies float32 only, and no other device."""
    monkeypatch.setattr(cpu_features, "has_matmul", lambda dtype: dtype == "float32")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("dtype", "precision", "settings"),
    [
        ("bfloat16", "32-true", "model.dtype=bfloat16:"),
        ("bfloat16", None, "model.dtype=bfloat16:"),
        ("float32", "bf16-mixed", "trainer.precision=bf16-mixed:"),
        ("bfloat16", "bf16-true", "model.dtype=bfloat16 and trainer.precision=bf16-true:"),
    ],
)
@pytest.mark.parametrize("accelerator", [None, "auto", "cpu"])
def test_emulated_settings_are_named_with_their_replacement(only_float32, dtype, precision, settings, accelerator):
    with pytest.warns(UserWarning, match=f"{settings}.*Set model.dtype=float32"):
        cpu_features.warn_of_emulation(dtype, precision, accelerator)


@pytest.mark.parametrize(
    ("dtype", "precision", "accelerator"),
    [("float32", "32-true", "cpu"), (None, None, None), ("bfloat16", "32-true", "gpu"), ("bfloat16", None, "tpu")],
)
def test_float32_and_other_devices_need_no_warning(only_float32, dtype, precision, accelerator):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cpu_features.warn_of_emulation(dtype, precision, accelerator)


def test_has_matmul_is_what_torch_reports():
    assert cpu_features.has_matmul("float32")
    if torch.backends.mkldnn.is_available():
        assert cpu_features.has_matmul("bfloat16") == torch.ops.mkldnn._is_mkldnn_bf16_supported()


@pytest.mark.parametrize("dtypes", [["float32"], ["float32", "bfloat16"]])
def test_the_toybox_samples_in_bfloat16_only_where_it_is_not_emulated(monkeypatch, dtypes):
    monkeypatch.setattr(cpu_features, "has_matmul", lambda dtype: dtype in dtypes)
    autocast = []
    pipeline = load_pipeline()
    pipeline.unet.register_forward_pre_hook(lambda *_: autocast.append(torch.is_autocast_enabled("cpu")))
    sample(pipeline, ["a cat"], num_inference_steps=1)
    assert autocast == ["bfloat16" in dtypes]


def test_a_run_warns_before_the_model_loads(only_float32, compose):
    with pytest.warns(UserWarning, match="model.dtype=bfloat16"):
        preflight(compose("+experiment=cat_toy", "trainer=cpu", "model.dtype=bfloat16"))
