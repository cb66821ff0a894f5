"""Sana and Lumina Image 2.0: their instructions before captions, and Gemma's tokens."""

import copy

import pytest
import torch

from tests.models.published import save
from tests.models.published_transformers import GEMMA_WIDTH, gemma_tokenizer, published_transformer
from tests.tiny import CAT
from tinv.embeddings.checks import initializer_ids
from tinv.models import LatentDiffusion, load
from tinv.models.lumina2 import SYSTEM_PROMPT
from tinv.models.sampling import generate_images
from tinv.models.sana import SANA


@pytest.fixture(scope="module", params=["sana_1600m", "lumina2"])
def model(request, tmp_path_factory):
    name = request.param
    return load(str(save(published_transformer(name), tmp_path_factory.mktemp(name) / "model")))


def test_negative_prompts_are_encoded_without_the_instruction(model):
    captions = ["a red dog", "a photo of a cat on the beach"]
    prompt, negative = (model.encode_text(captions, {}, is_negative=is_negative) for is_negative in (False, True))
    assert prompt.hidden.shape == negative.hidden.shape
    assert negative.mask.sum(dim=1).tolist() == [len(caption.split()) + 1 for caption in captions]
    assert not torch.equal(prompt.hidden, negative.hidden)


def test_each_caption_of_a_batch_is_encoded_as_it_is_alone(model):
    captions = ["a red dog", "a photo of a cat on the beach"]
    batch = model.encode_text(captions, {})
    for row, caption in enumerate(captions):
        single = model.encode_text([caption], {})
        assert torch.equal(batch.mask[row], single.mask[0])
        torch.testing.assert_close(batch.hidden[row], single.hidden[0])


def test_the_system_prompt_is_that_of_the_pipeline():
    assert published_transformer("lumina2").system_prompt == SYSTEM_PROMPT


def test_the_initializer_is_the_token_inside_a_caption():
    """Gemma has other tokens for words at the start of a text."""
    tokenizer = gemma_tokenizer()
    ids = initializer_ids(CAT, tokenizer, num_vectors=1, init="word")
    assert tokenizer.convert_ids_to_tokens(ids) == ["▁toy"]
    assert ids[0] in tokenizer("a photo of a toy").input_ids


def test_stages_follow_the_scaled_timestep_of_sana():
    """That of Sana-Sprint is 0.001: then the transformer gets timesteps from 0 to 1."""
    components = copy.deepcopy(published_transformer("sana_1600m").components)
    components["transformer"].register_to_config(timestep_scale=0.001)
    model = LatentDiffusion(SANA, components, name="scaled")
    assert model.timestep_range == (0, 1)
    vectors = {f"gemma/stage.{stage}": torch.zeros(1, GEMMA_WIDTH) for stage in (0, 1)}
    images = []
    for changed in (None, *vectors):
        token = {"<cat-toy>": {name: vector + 3 * (name == changed) for name, vector in vectors.items()}}
        images += generate_images(model, ["a <cat-toy>"], token, seeds=[5], num_inference_steps=4, guidance_scale=2.0)
    assert len({image.tobytes() for image in images}) == 3
