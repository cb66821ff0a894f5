"""The first number that is no number stops the run, and the embedding stays as it was."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from tests.training.callbacks.fitting import Overflow, SpoilGradient, fit, rows
from tinv.formats import read
from tinv.models import LatentDiffusion
from tinv.training.callbacks import Export, StopOnNonFinite
from tinv.training.callbacks.nonfinite import NonFiniteError


def test_a_loss_that_is_not_finite_stops_the_run_before_its_step(tmp_path: Path, model: LatentDiffusion) -> None:
    good = fit(tmp_path, model, [], max_steps=2, accumulate=2)
    calls = []

    def spoil(unet: object, inputs: object, output: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        calls.append(1)
        return (output[0] * float("inf"),) if len(calls) == 5 else output  # the first micro-batch of step 3

    hook = model.unet.register_forward_hook(spoil)
    try:
        with pytest.raises(NonFiniteError, match=r"train/loss.* in optimizer step 3; .*lower optimizer\.lr"):
            fit(tmp_path, model, [StopOnNonFinite(), Export(tmp_path)], accumulate=2)
    finally:
        hook.remove()
    assert len(calls) == 6
    assert torch.equal(read(tmp_path).vectors["clip_l"], rows(good))
    assert read(tmp_path).provenance["steps"] == "2"


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_gradient_that_is_not_finite_is_not_applied(tmp_path: Path, model: LatentDiffusion, value: float) -> None:
    good = fit(tmp_path, model, [], max_steps=1)
    with pytest.raises(NonFiniteError, match=r"the gradient of weights\.clip_l .* in optimizer step 2"):
        fit(tmp_path, model, [StopOnNonFinite(), Export(tmp_path), SpoilGradient(2, value)])
    assert torch.equal(read(tmp_path).vectors["clip_l"], rows(good))


def test_rows_that_a_step_has_spoiled_are_put_back(tmp_path: Path, model: LatentDiffusion) -> None:
    start = fit(tmp_path, model, [], max_steps=1, optimizer=partial(torch.optim.SGD, lr=0.0))
    with pytest.raises(NonFiniteError, match=r"weights\.clip_l became infinite or NaN in optimizer step 1"):
        fit(
            tmp_path,
            model,
            [StopOnNonFinite(), Export(tmp_path)],
            optimizer=Overflow,
        )
    assert torch.equal(read(tmp_path).vectors["clip_l"], rows(start))


def test_a_float16_overflow_is_left_to_the_gradient_scaler(tmp_path: Path, model: LatentDiffusion) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    module = fit(
        tmp_path, model, [StopOnNonFinite(), SpoilGradient(2, float("inf"))], max_steps=3, trainer={"plugins": plugin}
    )
    assert scaler.get_scale() == 2.0
    assert rows(module).isfinite().all()


def test_a_gradient_that_no_scale_makes_finite_stops_the_run(tmp_path: Path, model: LatentDiffusion) -> None:
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1.0))
    with pytest.raises(NonFiniteError, match=r"the gradient of weights\.clip_l"):
        fit(tmp_path, model, [StopOnNonFinite(), SpoilGradient(2, float("nan"))], trainer={"plugins": plugin})


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_a_step_that_is_read_late_has_taught_nothing(tmp_path: Path, model: LatentDiffusion, ema: float) -> None:
    good = fit(tmp_path, model, [], max_steps=2, ema=ema)
    callbacks = [StopOnNonFinite(), Export(tmp_path), SpoilGradient(3, float("nan"))]
    with pytest.raises(NonFiniteError, match=r"^the gradient of weights\.clip_l became .* in optimizer step 3;"):
        fit(
            tmp_path,
            model,
            callbacks,
            max_steps=6,
            trainer={"log_every_n_steps": 100, "val_check_interval": 6},
            ema=ema,
        )
    assert torch.equal(read(tmp_path).vectors["clip_l"], rows(good))
    assert read(tmp_path).provenance["steps"] == "2"


def test_no_device_is_waited_for_but_where_steps_are_logged() -> None:
    learned = torch.nn.Linear(3, 2, bias=False, device="meta")  # of which nothing can be read
    learned.weight.grad = torch.ones_like(learned.weight)
    module = SimpleNamespace(learned_tokens=learned, named_vectors=lambda: {"rows": learned.weight})
    trainer = SimpleNamespace(global_step=0, log_every_n_steps=3, precision_plugin=None)
    guard = StopOnNonFinite()
    guard.on_train_start(trainer, module)
    for step in (1, 2):
        guard.on_before_backward(trainer, module, torch.zeros((), device="meta"))
        guard.on_before_optimizer_step(trainer, module, None)
        trainer.global_step = step
        guard.on_train_batch_end(trainer, module)
    guard.on_before_backward(trainer, module, torch.zeros((), device="meta"))
    with pytest.raises(RuntimeError, match="meta"):
        guard.on_before_optimizer_step(trainer, module, None)
