"""StopOnNonFinite stops the run at the first infinity or NaN and keeps the embedding of the step before."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from tests.training.callbacks.fitting import FillGradient, Overflow, fit, vectors
from tinv.formats import read
from tinv.training.callbacks import Export, StopOnNonFinite
from tinv.training.callbacks.nonfinite import NonFiniteError


def test_an_infinite_loss_stops_the_run_before_its_step(tmp_path, model):
    good = fit(tmp_path, model, [], max_steps=2, accumulate=2)
    calls = []

    def overflow(unet: object, inputs: object, output: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        calls.append(1)
        return (output[0] * float("inf"),) if len(calls) == 5 else output  # the first micro-batch of step 3

    hook = model.unet.register_forward_hook(overflow)
    try:
        with pytest.raises(NonFiniteError, match=r"train/loss.* in optimizer step 3; .*lower optimizer\.lr"):
            fit(tmp_path, model, [StopOnNonFinite(), Export(tmp_path)], accumulate=2)
    finally:
        hook.remove()
    assert len(calls) == 6 and read(tmp_path).provenance["steps"] == "2"
    assert torch.equal(read(tmp_path).vectors["clip_l"], vectors(good))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_nonfinite_gradient_is_not_applied(tmp_path, model, value):
    good = fit(tmp_path, model, [], max_steps=1)
    with pytest.raises(NonFiniteError, match=r"the gradient of weights\.clip_l .* in optimizer step 2"):
        fit(tmp_path, model, [StopOnNonFinite(), Export(tmp_path), FillGradient(2, value)])
    assert torch.equal(read(tmp_path).vectors["clip_l"], vectors(good))


def test_vectors_that_overflow_are_restored(tmp_path, model):
    start = fit(tmp_path, model, [], max_steps=1, optimizer=partial(torch.optim.SGD, lr=0.0))
    with pytest.raises(NonFiniteError, match=r"weights\.clip_l became infinite or NaN in optimizer step 1"):
        fit(tmp_path, model, [StopOnNonFinite(), Export(tmp_path)], optimizer=Overflow)
    assert torch.equal(read(tmp_path).vectors["clip_l"], vectors(start))


def test_a_float16_overflow_is_left_to_the_gradient_scaler(tmp_path, model):
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    callbacks = [StopOnNonFinite(), FillGradient(2, float("inf"))]
    module = fit(tmp_path, model, callbacks, max_steps=3, trainer={"plugins": plugin})
    assert scaler.get_scale() == 2.0 and vectors(module).isfinite().all()


def test_a_gradient_that_is_nan_at_scale_1_stops_the_run(tmp_path, model):
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1.0))
    with pytest.raises(NonFiniteError, match=r"the gradient of weights\.clip_l"):
        fit(tmp_path, model, [StopOnNonFinite(), FillGradient(2, float("nan"))], trainer={"plugins": plugin})


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_steps_between_a_bad_step_and_its_detection_change_nothing(tmp_path, model, ema):
    good = fit(tmp_path, model, [], max_steps=2, ema=ema)
    callbacks = [StopOnNonFinite(), Export(tmp_path), FillGradient(3, float("nan"))]
    with pytest.raises(NonFiniteError, match=r"^the gradient of weights\.clip_l became .* in optimizer step 3;"):
        fit(tmp_path, model, callbacks, trainer={"log_every_n_steps": 100, "val_check_interval": 6}, ema=ema)
    assert torch.equal(read(tmp_path).vectors["clip_l"], vectors(good))
    assert read(tmp_path).provenance["steps"] == "2"


def test_it_synchronizes_only_at_logged_steps():
    learned = torch.nn.Linear(3, 2, bias=False, device="meta")  # its values cannot be read
    learned.weight.grad = torch.ones_like(learned.weight)
    module = SimpleNamespace(learned_tokens=learned, named_vectors=lambda: {"weights": learned.weight})
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
