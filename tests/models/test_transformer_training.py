"""Several concepts, merged micro-batches and several processes, for every family without a U-Net."""

from functools import partial

import pytest
import torch

from tests.models.published_transformers import TRANSFORMERS
from tests.tiny import CAT, fit, tiny_data, tiny_images, tiny_module
from tests.training.test_ddp import TWO, learned, train
from tinv.concept import Concept
from tinv.data.datamodule import MultiConceptDataModule
from tinv.embeddings import EmbeddingConfig
from tinv.training.concept_task import ConceptTask

DOG = Concept(placeholder_token="<my-dog>", initializer_token="dog")
SGD = partial(torch.optim.SGD, lr=1e-3)  # Adam would make equal steps of different rounding


def learn(model, parts, **options):
    """The module after two steps of two micro-batches of each datamodule in `parts`."""
    module = tiny_module(model, optimizer=SGD, **options)
    fit(module, MultiConceptDataModule(parts), 2, accumulate_grad_batches=2, limit_val_batches=0)
    return module


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_two_concepts_learn_bit_for_bit_what_each_learns_alone(model_of_family, name, tmp_path):
    """Their micro-batches, with captions of different lengths, are merged; apart they learn the same."""
    model = model_of_family(name)
    cats = tiny_data(tmp_path / "cats", model, batch_size=1)
    dogs = tiny_data(tmp_path / "dogs", model, concept=DOG, batch_size=2, flip=True)
    task = ConceptTask(concept=DOG, data=dogs, embedding=EmbeddingConfig(num_vectors=3))
    joint = learn(model, [cats, dogs], num_vectors=2, extra_concepts=[task], merge_batches=True).export_vectors()
    alone = {"<cat-toy>": (CAT, cats, 2), "<my-dog>": (DOG, dogs, 3)}
    for token, (concept, data, count) in alone.items():
        options = {"concept": concept, "num_vectors": count}
        start = tiny_module(model, **options).export_vectors()[token]
        merged, apart = (
            learn(model, [data], merge_batches=merge, **options).export_vectors()[token] for merge in (True, False)
        )
        assert merged.keys() == TRANSFORMERS[name].widths.keys()
        for role, vectors_KD in merged.items():
            assert torch.equal(joint[token][role], vectors_KD) and vectors_KD.ne(start[role]).any(dim=1).all()
            change = (vectors_KD - start[role]).abs().max().item()
            torch.testing.assert_close(apart[role], vectors_KD, atol=1e-3 * change, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_two_processes_learn_what_one_with_twice_the_batch_size_learns(folder_of_family, name, tmp_path):
    (tmp_path / "model").symlink_to(folder_of_family(name))
    tiny_images(tmp_path / "images")
    short = ("trainer.max_steps=2", "trainer.val_check_interval=4", "callbacks.samples.num_inference_steps=2")
    single = train(tmp_path, "single", "trainer=cpu", "data.batch_size=2", *short)
    double = train(tmp_path, "ddp", *TWO, *short)
    first, second = (rank["vectors"] for rank in double["ranks"])
    assert first.keys() == TRANSFORMERS[name].widths.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )
    torch.testing.assert_close(learned(double["folder"]), learned(single["folder"]), atol=5e-5, rtol=0)
    assert double["ranks"][0]["val/loss"] == pytest.approx(single["ranks"][0]["val/loss"], rel=1e-4)
