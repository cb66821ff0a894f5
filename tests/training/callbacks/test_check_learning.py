"""A run that cannot learn stops early and says which rows and why."""

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor

from tests.training.callbacks.fitting import Interrupt, fit
from tinv.errors import UserError
from tinv.models import LatentDiffusion
from tinv.training.callbacks import CheckLearning, Checkpoints
from tinv.training.callbacks.check_learning import NotLearningError


class ForgetRow(Callback):
    """Takes away the gradient of one row, as a caption cut short would."""

    def __init__(self, row: int):
        self.row = row

    def on_after_backward(self, trainer: object, pl_module: object) -> None:
        for parameter in pl_module.learned_tokens[0].embedding.parameters():  # type: ignore[attr-defined]
            parameter.grad[self.row] = 0


def test_a_run_that_learns_passes(tmp_path: Path, model: LatentDiffusion) -> None:
    fit(tmp_path, model, [CheckLearning(after_steps=3)], max_steps=4, num_vectors=2)


def test_a_detached_text_is_noticed(tmp_path: Path, model: LatentDiffusion) -> None:
    def detach(text_encoder: object, inputs: object, output: dict[str, Tensor]) -> dict[str, Tensor]:
        output["last_hidden_state"] = output["last_hidden_state"].detach() + 0 * output["last_hidden_state"]
        return output

    hook = model.text_encoder.register_forward_hook(detach)
    try:
        with pytest.raises(NotLearningError, match=r"after 3 optimizer steps .* \(the only vector\) had no gradient"):
            fit(tmp_path, model, [CheckLearning(after_steps=3)], accumulate=2)
    finally:
        hook.remove()


def test_a_single_row_without_a_gradient_is_named(tmp_path: Path, model: LatentDiffusion) -> None:
    with pytest.raises(NotLearningError, match=r"vector 1 of weights\.clip_l had no gradient: the captions"):
        fit(tmp_path, model, [CheckLearning(after_steps=2), ForgetRow(1)], num_vectors=3)


@pytest.mark.parametrize("lr", [0.0, 1e-12])
def test_a_rate_too_small_to_count_is_noticed(tmp_path: Path, model: LatentDiffusion, lr: float) -> None:
    with pytest.raises(NotLearningError, match=r"\(all 2 vectors\) had a gradient but did not change: optimizer\.lr"):
        fit(tmp_path, model, [CheckLearning(2)], num_vectors=2, optimizer=partial(torch.optim.AdamW, lr=lr))


def test_a_resumed_run_is_measured_from_its_very_start(tmp_path: Path, model: LatentDiffusion) -> None:
    frozen = partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda step: float(step < 2))
    with pytest.raises(RuntimeError):
        fit(tmp_path, model, [Checkpoints(tmp_path, 2), Interrupt(3, RuntimeError())])
    resume = tmp_path / "checkpoints" / "step_000002.ckpt"
    moved = fit(tmp_path, model, [CheckLearning(4)], resume=resume, max_steps=5, scheduler=frozen)
    assert moved.global_step == 5
    fit(tmp_path, model, [CheckLearning(2), ForgetRow(0)], resume=resume)  # it has passed the look before


def test_looking_before_the_first_step_is_refused() -> None:
    with pytest.raises(UserError, match=r"callbacks\.check_learning\.after_steps must be 1 or more, got 0"):
        CheckLearning(0)
