import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPTextModel

from tests.tiny import tiny_parts
from tinv.models.text_encoder import TokenLookup

V, K, D = 50, 3, 16
IDS = torch.tensor([[0, 7, V, V + 1, V + 2, 7, V], [1, 2, 3, 4, 5, 6, V - 1]])


def tables():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Embedding(V, D), torch.randn(K, D)


def test_the_gradient_is_that_of_the_full_table_to_the_last_bit():
    table, start = tables()
    full = torch.cat([table.weight.detach(), start]).requires_grad_()
    rows = start.clone().requires_grad_()
    weights = torch.randn(*IDS.shape, D, generator=torch.Generator().manual_seed(1))
    (F.embedding(IDS, full) * weights).sum().backward()
    token_lookup = TokenLookup(table)
    with token_lookup.with_vectors(rows):
        seen = token_lookup(IDS)
        (seen * weights).sum().backward()
    assert torch.equal(seen, F.embedding(IDS, full))
    assert torch.equal(rows.grad, full.grad[V:])


def test_without_learned_words_the_rows_still_belong_to_the_graph():
    table, start = tables()
    rows = start.requires_grad_()
    token_lookup = TokenLookup(table)
    with token_lookup.with_vectors(rows):
        token_lookup(IDS[1:]).sum().backward()
    assert torch.equal(rows.grad, torch.zeros(K, D))


def test_rows_show_in_the_precision_of_the_frozen_table():
    table, rows = tables()
    token_lookup = TokenLookup(table.bfloat16())
    with token_lookup.with_vectors(rows):
        assert token_lookup(IDS).dtype == torch.bfloat16


def test_the_lens_is_taken_off_again_also_after_an_error():
    table, rows = tables()
    token_lookup = TokenLookup(table)
    with pytest.raises(RuntimeError), token_lookup.with_vectors(rows):
        raise RuntimeError
    with pytest.raises(IndexError):
        token_lookup(IDS)


def test_resizing_a_vocabulary_under_a_lens_fails_loudly():
    encoder: CLIPTextModel = tiny_parts()["text_encoder"]
    encoder.set_input_embeddings(TokenLookup(encoder.get_input_embeddings()))
    with pytest.raises(TypeError):
        encoder.resize_token_embeddings(encoder.config.vocab_size + 1)
