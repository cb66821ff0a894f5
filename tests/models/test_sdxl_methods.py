"""Methods over both text encoders of Stable Diffusion XL, each with its own start, length and direction."""

from functools import partial

import pytest
import torch
from torch.nn.functional import cosine_similarity

from tests.models.published import published
from tests.models.test_sdxl import ours
from tests.tiny import tiny_data, tiny_module, tiny_trainer
from tinv.embeddings.norm_constraint import mean_norm
from tinv.optim import RiemannianSGD
from tinv.training.regularizers import ContextRegularizer, L2ToInitRegularizer


@pytest.fixture(scope="module")
def model():
    return ours(published("sdxl"))


def start(model, **settings):
    rows = tiny_module(model, **settings).words[0].embedding.weights
    return {encoder: parameter.detach() for encoder, parameter in rows.items()}


def test_cross_starts_each_encoders_rows_at_what_it_gives_the_denoiser(model):
    """The last hidden state but one, for both."""
    rows = start(model, init="cross")
    for encoder, tokenizer, text_encoder in (
        ("clip_l", model.tokenizer, model.text_encoder),
        ("clip_g", model.tokenizer_2, model.text_encoder_2),
    ):
        ids = tokenizer("toy", padding="max_length", return_tensors="pt").input_ids
        with torch.no_grad():
            hidden = text_encoder(ids, output_hidden_states=True).hidden_states[-2]
        assert torch.equal(rows[encoder][0], hidden[0, 1])


def test_the_mean_of_all_words_is_each_encoders_own(model):
    rows = start(model, init="vocabulary")
    assert all(torch.allclose(rows[encoder][0], table.mean(dim=0)) for encoder, table in model.tables.items())


def test_the_context_of_the_ordinary_word_costs_nothing_and_another_teaches_both_encoders(model):
    word = tiny_module(model).learned_tokens[0]
    regularizer = ContextRegularizer(weight=1.0, num_prompts=2)
    assert abs(regularizer(word, model, seed=0, step=0).item()) < 1e-6
    with torch.no_grad():
        for rows in word.embedding.parameters():
            rows.add_(0.3 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0)))
    regularizer(word, model, seed=0, step=0).backward()
    assert all(rows.grad.abs().max() > 0 for rows in word.embedding.weights.values())


def test_the_distance_is_the_sum_over_the_encoders(model):
    word = tiny_module(model).learned_tokens[0]
    with torch.no_grad():
        for rows, far in zip(word.embedding.weights.values(), (3.0, 4.0), strict=True):
            rows[:, 0] += far
    assert L2ToInitRegularizer(weight=0.1)(word, model, seed=0, step=0).item() == pytest.approx(0.7, rel=1e-5)


def test_directions_of_both_encoders_are_turned_at_their_own_lengths(model, tmp_path):
    module = tiny_module(model, norm="directional", optimizer=partial(RiemannianSGD, lr=0.1))
    before = {encoder: rows.detach().clone() for encoder, rows in module.learned_tokens[0].embedding.weights.items()}
    tiny_trainer(max_steps=3, limit_val_batches=0).fit(module, tiny_data(tmp_path, model, batch_size=1))
    for encoder, rows in module.learned_tokens[0].embedding.weights.items():
        assert rows.norm().item() == pytest.approx(mean_norm(model.tables[encoder]), rel=1e-6)
        assert cosine_similarity(rows, before[encoder]).item() < 0.9999
