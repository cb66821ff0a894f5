"""Properties of gradient descent on a sphere."""

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from tests.optim.test_optimizers import vectors_of
from tests.resuming import run_and_resume
from tests.tiny import tiny_data, tiny_module, tiny_trainer
from tinv.config.validate import build
from tinv.embeddings.norm_constraint import mean_norm
from tinv.optim import RiemannianSGD

DIRECTIONAL = ["embedding.norm=directional", "optimizer=rsgd"]


def random_vectors(count=3, width=16, length=0.4, seed=0):
    directions = normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)
    return torch.nn.Parameter(length * directions)


def random_like(parameter, seed=1):
    return torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))


def test_norms_are_constant_to_float_precision_over_a_thousand_steps():
    """Without `NormConstraint`, which removes accumulated rounding errors in a run."""
    parameter = random_vectors(length=0.37)
    optimizer, drawn = RiemannianSGD([parameter], lr=0.1, kappa=1e-3), torch.Generator().manual_seed(2)
    for _ in range(1000):
        parameter.grad = torch.randn(parameter.shape, generator=drawn)
        optimizer.step()
    torch.testing.assert_close(parameter.norm(dim=1), torch.full((3,), 0.37), rtol=3e-5, atol=0)


@pytest.mark.parametrize("lr", [1e-2, 4e-2, 0.5])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_step_rotates_by_arctan_lr_for_any_gradient_norm(lr, scale):
    """The step before the retraction is tangent and has the norm lr."""
    parameter = random_vectors()
    before, parameter.grad = parameter.detach().clone().double(), scale * random_like(parameter)
    RiemannianSGD([parameter], lr=lr, kappa=0.0).step()
    after = parameter.detach().double()
    angle = torch.atan2(
        torch.linalg.norm(after - before * cosine_similarity(after, before)[:, None], dim=1),
        (after * before).sum(1) / 0.4,
    )
    torch.testing.assert_close(angle, torch.full((3,), math.atan(lr), dtype=torch.float64), rtol=1e-3, atol=1e-6)


def test_the_radial_part_of_the_gradient_has_no_effect():
    first, second = random_vectors(), random_vectors()
    first.grad = random_like(first)
    second.grad = first.grad + 7 * second.detach()
    for parameter in (first, second):
        RiemannianSGD([parameter], lr=0.1, kappa=0.0).step()
    torch.testing.assert_close(first, second)


def test_it_minimizes():
    """The vectors converge to the direction of the target."""
    parameter, target = random_vectors(), normalize(random_like(random_vectors()), dim=1)
    optimizer = RiemannianSGD([parameter], lr=0.02, kappa=0.0)
    for _ in range(300):
        optimizer.zero_grad()
        (-(parameter * target).sum()).backward()
        optimizer.step()
    assert (cosine_similarity(parameter, target) > 0.999).all()


def test_the_prior_pulls_towards_the_initial_direction():
    """With random gradients, vectors drift away unless the prior outweighs them."""
    similarity = {}
    for kappa in (0.0, 10.0):
        parameter = random_vectors()
        start, drawn = parameter.detach().clone(), torch.Generator().manual_seed(3)
        optimizer = RiemannianSGD([parameter], lr=0.05, kappa=kappa)
        for _ in range(400):
            parameter.grad = torch.randn(parameter.shape, generator=drawn)
            optimizer.step()
        similarity[kappa] = cosine_similarity(parameter.detach(), start).min().item()
    assert similarity[10.0] > 0.9 > 0.7 > similarity[0.0]


def test_a_step_with_a_prior_is_that_of_the_paper():
    """For a vector of norm 0.4: 0.4 g - kappa mu, projected onto the tangent plane and normalized."""
    parameter = random_vectors(count=1)
    optimizer = RiemannianSGD([parameter], lr=0.3, kappa=0.5)
    mu = normalize(parameter.detach(), dim=1)
    for seed in (4, 5):
        direction, gradient = normalize(parameter.detach(), dim=1), random_like(parameter, seed)
        tangent = 0.4 * gradient - 0.5 * mu
        tangent = normalize(tangent - (tangent * direction).sum() * direction, dim=1)
        parameter.grad = gradient
        optimizer.step()
        torch.testing.assert_close(parameter.detach(), 0.4 * normalize(direction - 0.3 * tangent, dim=1))


def test_a_vector_without_a_gradient_does_not_move():
    parameter = random_vectors()
    before, parameter.grad = parameter.detach().clone(), random_like(parameter)
    parameter.grad[1] = 0
    optimizer = RiemannianSGD([parameter], kappa=1e-2)
    optimizer.step()
    assert torch.equal(parameter[1], before[1])
    assert not torch.equal(parameter[0], before[0])


def test_the_prior_survives_a_resume():
    parameter = random_vectors()
    optimizer = RiemannianSGD([parameter])
    start, parameter.grad = normalize(parameter.detach(), dim=1), random_like(parameter)
    optimizer.step()
    resumed = RiemannianSGD([torch.nn.Parameter(parameter.detach().clone())])
    resumed.load_state_dict(optimizer.state_dict())
    (state,) = resumed.state.values()
    assert torch.equal(state["init_direction"], start)


def directional(model, compose):
    factory = build(compose("+experiment=cat_toy", *DIRECTIONAL).optimizer)
    return tiny_module(model, num_vectors=2, norm="directional", optimizer=factory)


def test_a_run_keeps_the_mean_norm_of_the_vocabulary(model, compose, tmp_path):
    module, length = directional(model, compose), mean_norm(model.tables["clip_l"])
    start = vectors_of(module)
    torch.testing.assert_close(start.norm(dim=1), torch.full((2,), length))
    tiny_trainer(max_steps=20, limit_val_batches=0).fit(module, tiny_data(tmp_path, model, batch_size=1))
    torch.testing.assert_close(vectors_of(module).norm(dim=1), torch.full((2,), length), rtol=1e-6, atol=0)
    assert (cosine_similarity(vectors_of(module), start) < 0.995).all()


def test_a_resumed_directional_run_is_bit_identical(model, compose, tmp_path):
    data = tiny_data(tmp_path / "images", model, batch_size=1)
    run = run_and_resume(lambda: directional(model, compose), data, tmp_path, at=4, max_steps=8, limit_val_batches=0)
    assert torch.equal(vectors_of(run.uninterrupted), vectors_of(run.resumed))
