import warnings

import pytest
import torch

from tests.models.published import LAYOUTS
from tests.tiny import tiny_data, tiny_module, tiny_trainer
from tinv.models import load


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_frozen_weights_load_in_the_precision_that_they_run_in(folders, name, dtype):
    model = load(str(folders[name]), dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    of_the_vae = "float32" if dtype == "float16" else dtype  # these say that float16 would overflow
    assert {parameter.dtype for parameter in model.vae.parameters()} == {getattr(torch, of_the_vae)}


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [
        ("float32", "16-mixed"),  # which Lightning makes bf16-mixed here
        ("float32", "16-true"),
        ("bfloat16", "32-true"),
        ("bfloat16", "bf16-mixed"),
        ("bfloat16", "bf16-true"),
        ("float16", "32-true"),
    ],
)
@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_rows_are_float32_and_their_gradients_finite_whatever_the_weights_run_in(
    folders, tmp_path, name, dtype, precision
):
    model = load(str(folders[name]), dtype=dtype, gradient_checkpointing=True)
    module, gradients = tiny_module(model), []
    start = module.export_vectors()["<cat-toy>"]
    for rows in module.learned_tokens[0].embedding.weights.values():
        rows.register_hook(gradients.append)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tiny_trainer(max_steps=1, precision=precision).fit(module, tiny_data(tmp_path, model))
    assert len(gradients) == len(module.learned_tokens[0].embedding.weights) == len(model.tables)
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)
    for encoder, rows in module.learned_tokens[0].embedding.weights.items():
        assert rows.dtype == torch.float32
        assert not torch.equal(rows.detach().bfloat16().float(), rows.detach())
        assert not torch.equal(rows.detach(), start[encoder])


@pytest.mark.parametrize("tf32", [True, False])
def test_one_run_of_a_sweep_leaves_no_tf32_to_the_next(folders, tf32):
    try:
        load(str(folders["sd1"]), tf32=tf32)
        assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
        load(str(folders["sd1"]))
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision("highest")
