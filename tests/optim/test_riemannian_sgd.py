"""Rows that turn and keep their length: the laws of gradient descent on a sphere."""

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from tests.optim.test_optimizers import rows
from tests.resuming import run_and_resume
from tests.tiny import tiny_data, tiny_module, tiny_trainer
from tinv.config.validate import build
from tinv.embeddings.norm_constraint import mean_norm
from tinv.optim import RiemannianSGD

DIRECTIONAL = ["embedding.norm=directional", "optimizer=rsgd"]


def some(count=3, width=16, length=0.4, seed=0):
    directions = normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)
    return torch.nn.Parameter(length * directions)


def random_like(parameter, seed=1):
    return torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))


def test_lengths_are_kept_to_float_precision_over_a_thousand_steps():
    """By the optimizer alone; in a run `NormConstraint` takes away what rounding adds up to."""
    parameter = some(length=0.37)
    optimizer, drawn = RiemannianSGD([parameter], lr=0.1, kappa=1e-3), torch.Generator().manual_seed(2)
    for _ in range(1000):
        parameter.grad = torch.randn(parameter.shape, generator=drawn)
        optimizer.step()
    torch.testing.assert_close(parameter.norm(dim=1), torch.full((3,), 0.37), rtol=3e-5, atol=0)


@pytest.mark.parametrize("lr", [1e-2, 4e-2, 0.5])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_step_is_a_turn_by_arctan_lr_however_long_the_gradient(lr, scale):
    """The step before the retraction is tangent and as long as lr: hence that angle, and no other."""
    parameter = some()
    before, parameter.grad = parameter.detach().clone().double(), scale * random_like(parameter)
    RiemannianSGD([parameter], lr=lr, kappa=0.0).step()
    after = parameter.detach().double()
    angle = torch.atan2(
        torch.linalg.norm(after - before * cosine_similarity(after, before)[:, None], dim=1),
        (after * before).sum(1) / 0.4,
    )
    torch.testing.assert_close(angle, torch.full((3,), math.atan(lr), dtype=torch.float64), rtol=1e-3, atol=1e-6)


def test_only_the_tangent_part_of_the_gradient_counts():
    one, other = some(), some()
    one.grad = random_like(one)
    other.grad = one.grad + 7 * other.detach()
    for parameter in (one, other):
        RiemannianSGD([parameter], lr=0.1, kappa=0.0).step()
    torch.testing.assert_close(one, other)


def test_it_goes_downhill():
    """To where the row points as the target does."""
    parameter, target = some(), normalize(random_like(some()), dim=1)
    optimizer = RiemannianSGD([parameter], lr=0.02, kappa=0.0)
    for _ in range(300):
        optimizer.zero_grad()
        (-(parameter * target).sum()).backward()
        optimizer.step()
    assert (cosine_similarity(parameter, target) > 0.999).all()


def test_the_prior_pulls_to_the_start():
    """Where gradients are nothing but chance, a prior that outweighs them keeps rows near; without it they walk off."""
    away = {}
    for kappa in (0.0, 10.0):
        parameter = some()
        start, drawn = parameter.detach().clone(), torch.Generator().manual_seed(3)
        optimizer = RiemannianSGD([parameter], lr=0.05, kappa=kappa)
        for _ in range(400):
            parameter.grad = torch.randn(parameter.shape, generator=drawn)
            optimizer.step()
        away[kappa] = cosine_similarity(parameter.detach(), start).min().item()
    assert away[10.0] > 0.9 > 0.7 > away[0.0]


def test_the_prior_weighs_kappa_beside_the_gradient_of_the_direction():
    """DTI's step by hand, of a row of length 0.4: 0.4 g - kappa mu in the tangent plane, made as long as 1."""
    parameter = some(count=1)
    optimizer = RiemannianSGD([parameter], lr=0.3, kappa=0.5)
    mu = normalize(parameter.detach(), dim=1)
    for seed in (4, 5):
        facing, gradient = normalize(parameter.detach(), dim=1), random_like(parameter, seed)
        uphill = 0.4 * gradient - 0.5 * mu
        uphill = normalize(uphill - (uphill * facing).sum() * facing, dim=1)
        parameter.grad = gradient
        optimizer.step()
        torch.testing.assert_close(parameter.detach(), 0.4 * normalize(facing - 0.3 * uphill, dim=1))


def test_a_row_without_a_gradient_stays():
    parameter = some()
    before, parameter.grad = parameter.detach().clone(), random_like(parameter)
    parameter.grad[1] = 0
    optimizer = RiemannianSGD([parameter], kappa=1e-2)
    optimizer.step()
    assert torch.equal(parameter[1], before[1])
    assert not torch.equal(parameter[0], before[0])


def test_the_prior_of_a_resumed_run_pulls_to_where_the_run_began():
    parameter = some()
    optimizer = RiemannianSGD([parameter])
    start, parameter.grad = normalize(parameter.detach(), dim=1), random_like(parameter)
    optimizer.step()
    resumed = RiemannianSGD([torch.nn.Parameter(parameter.detach().clone())])
    resumed.load_state_dict(optimizer.state_dict())
    (state,) = resumed.state.values()
    assert torch.equal(state["start"], start)


def directional(model, compose):
    factory = build(compose("+experiment=cat_toy", *DIRECTIONAL).optimizer)
    return tiny_module(model, num_vectors=2, norm="directional", optimizer=factory)


def test_a_run_learns_directions_of_the_length_of_the_mean_word(model, compose, tmp_path):
    module, length = directional(model, compose), mean_norm(model.tables["clip_l"])
    start = rows(module)
    torch.testing.assert_close(start.norm(dim=1), torch.full((2,), length))
    tiny_trainer(max_steps=20, limit_val_batches=0).fit(module, tiny_data(tmp_path, model, batch_size=1))
    torch.testing.assert_close(rows(module).norm(dim=1), torch.full((2,), length), rtol=1e-6, atol=0)
    assert (cosine_similarity(rows(module), start) < 0.995).all()


def test_a_directional_run_that_goes_on_is_the_uninterrupted_one_to_the_last_bit(model, compose, tmp_path):
    data = tiny_data(tmp_path / "pictures", model, batch_size=1)
    run = run_and_resume(lambda: directional(model, compose), data, tmp_path, at=4, max_steps=8, limit_val_batches=0)
    assert torch.equal(rows(run.uninterrupted), rows(run.resumed))
