"""A lane's run is the run that it would be alone: to the last bit in one lane, to rounding in many."""

import copy
from functools import partial

import pytest
import torch

from tests.models.lanes import with_lane_models
from tests.models.published import save
from tests.models.published_transformers import TRANSFORMERS, published_transformer
from tests.tiny import exported, fit, tiny_data, tiny_module
from tinv.models import load
from tinv.models.sampling import sample_pixels

EMBEDDINGS = {
    "token": {"num_vectors": 2},
    "per_layer": {"per_layer": True},
    "per_timestep": {"timestep_stages": 3},
    "negative": {"num_vectors": 2, "num_negative_vectors": 1, "guidance_scale": 3.0},
}
TOLERANCE = 1e-5


def gradients(model, folder, *, seed, batch_size=2, **settings):
    """The gradients of one step from the vectors of a seed, by name."""
    module = tiny_module(model, seed=seed, init_noise=0.1, **settings)
    (batch, *_) = tiny_data(folder, model, seed=seed, batch_size=batch_size, val_draws=2).val_dataloader()
    model.backward(module.losses(batch).mean())
    return [parameter.grad for parameter in module.learned_tokens.parameters() if parameter.requires_grad]


def assert_close(actual, expected):
    for gradient, alone in zip(actual, expected, strict=True):
        assert alone is not None and alone.norm() > 0
        assert (gradient - alone).norm() <= TOLERANCE * alone.norm()


def vectors_after_four_steps(model, folder, settings, *, accumulate=1):
    module = tiny_module(model, merge_batches=False, **settings)
    fit(module, tiny_data(folder, model), accumulate_grad_batches=accumulate)
    return [tensor.clone() for tensor in module.learned_tokens.state_dict().values()]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_one_lane_is_the_run_alone_to_the_last_bit(model, tmp_path, embedding, accumulate):
    settings = EMBEDDINGS[embedding]
    alone = vectors_after_four_steps(model, tmp_path / "alone", settings, accumulate=accumulate)
    run = partial(vectors_after_four_steps, folder=tmp_path / "lane", settings=settings, accumulate=accumulate)
    (lane,), _ = with_lane_models(model, [run])
    assert all(torch.equal(*pair) for pair in zip(lane, alone, strict=True))


@pytest.mark.parametrize("layout", ["sd1", "sd2", "sdxl"])
def test_gradients_of_many_lanes_are_those_of_each_alone(models, tmp_path, layout):
    """Lanes with other vectors, numbers of vectors, images and batch sizes."""
    lanes = [{"seed": i, "num_vectors": 1 + i % 3, "batch_size": 1 + i % 2} for i in range(4)]
    alone = [gradients(models[layout], tmp_path / str(i), **lane) for i, lane in enumerate(lanes)]
    runs = [partial(gradients, folder=tmp_path / f"lane{i}", **lane) for i, lane in enumerate(lanes)]
    results, batcher = with_lane_models(models[layout], runs)
    for result, expected in zip(results, alone, strict=True):
        assert_close(result, expected)
    assert batcher.num_rows == sum(lane["batch_size"] for lane in lanes)


def test_gradients_of_lanes_with_different_kinds_of_embeddings_are_those_of_each_alone(model, tmp_path):
    lanes = [{"seed": i, **settings} for i, settings in enumerate(2 * list(EMBEDDINGS.values()))]
    alone = [gradients(model, tmp_path / str(i), **lane) for i, lane in enumerate(lanes)]
    runs = [partial(gradients, folder=tmp_path / f"lane{i}", **lane) for i, lane in enumerate(lanes)]
    results, _ = with_lane_models(model, runs)
    for result, expected in zip(results, alone, strict=True):
        assert_close(result, expected)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_gradients_of_lanes_of_other_families_are_those_of_each_alone(tmp_path, name):
    """Also of families whose denoiser is called for one lane after the other."""
    model = copy.deepcopy(load(str(save(published_transformer(name), tmp_path / "model"))))
    alone = [gradients(model, tmp_path / str(i), seed=i) for i in range(2)]
    runs = [partial(gradients, folder=tmp_path / f"lane{i}", seed=i) for i in range(2)]
    results, _ = with_lane_models(model, runs)
    for result, expected in zip(results, alone, strict=True):
        assert_close(result, expected)


def test_lanes_that_train_sample_and_validate_at_once_do_what_they_do_alone(model, tmp_path):
    vectors = {"<cat-toy>": {"clip_l": torch.randn(2, 32, generator=torch.Generator().manual_seed(1))}}

    def sample(model):
        return sample_pixels(model, ["a <cat-toy>", "a red dog"], vectors, seeds=[0, 1], num_inference_steps=3)

    def train(model):
        module = tiny_module(model, num_vectors=2)
        fit(module, tiny_data(tmp_path / f"{id(module)}", model), val_check_interval=2)
        return exported(module)

    alone = [sample(model), train(model)]
    (samples, trained, again), _ = with_lane_models(model, [sample, train, sample])
    torch.testing.assert_close(samples, alone[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(again, alone[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(trained, alone[1], rtol=0, atol=1e-5)


def test_lanes_leave_the_shared_model_as_it_is(model, tmp_path):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with_lane_models(model, [partial(gradients, folder=tmp_path / f"lane{i}", seed=i) for i in range(2)])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(encoder.token_lookup.learned is None for encoder in model.text_encoders.values())
