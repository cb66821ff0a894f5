"""CheckLearning stops a run that cannot learn and names the vectors and the reason."""

from functools import partial

import pytest
import torch
from torch import Tensor

from tests.training.callbacks.fitting import FillGradient, crash, fit
from tinv.training.callbacks import CheckLearning, Checkpoints
from tinv.training.callbacks.check_learning import NotLearningError


def test_a_run_that_learns_passes(tmp_path, model):
    fit(tmp_path, model, [CheckLearning(after_steps=3)], max_steps=4, num_vectors=2)


def test_detached_text_embeddings_raise(tmp_path, model):
    def detach(text_encoder: object, inputs: object, output: dict[str, Tensor]) -> dict[str, Tensor]:
        output["last_hidden_state"] = output["last_hidden_state"].detach() + 0 * output["last_hidden_state"]
        return output

    hook = model.text_encoder.register_forward_hook(detach)
    try:
        with pytest.raises(NotLearningError, match=r"after 3 optimizer steps .* \(the only vector\) had no gradient"):
            fit(tmp_path, model, [CheckLearning(after_steps=3)], accumulate=2)
    finally:
        hook.remove()


def test_a_single_vector_without_a_gradient_is_named(tmp_path, model):
    with pytest.raises(
        NotLearningError, match=r"vector 1 of weights\.clip_l had no gradient: the captions .* 77 tokens of clip_l"
    ):
        fit(tmp_path, model, [CheckLearning(after_steps=2), FillGradient(None, 0.0, index=1)], num_vectors=3)


@pytest.mark.parametrize("lr", [0.0, 1e-12])
def test_a_too_small_learning_rate_raises(tmp_path, model, lr):
    with pytest.raises(NotLearningError, match=r"\(all 2 vectors\) had a gradient but did not change: optimizer\.lr"):
        fit(tmp_path, model, [CheckLearning(2)], num_vectors=2, optimizer=partial(torch.optim.AdamW, lr=lr))


def test_a_resumed_run_compares_with_the_initial_vectors(tmp_path, model):
    frozen = partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda step: float(step < 2))
    resume = crash(tmp_path, model, [Checkpoints(tmp_path, 2)], 3)
    assert fit(tmp_path, model, [CheckLearning(4)], resume=resume, max_steps=5, scheduler=frozen).global_step == 5
    fit(tmp_path, model, [CheckLearning(2), FillGradient(None, 0.0)], resume=resume)  # it resumes after the check
