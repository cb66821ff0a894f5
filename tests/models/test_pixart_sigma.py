"""PixArt-Sigma's repository, captions and variance."""

import json

import pytest
import torch

from tests.models.published import save
from tests.models.published_transformers import published_transformer, random_rows
from tinv.models import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(published_transformer("pixart_sigma"), tmp_path_factory.mktemp("pixart") / "model")


@pytest.fixture(scope="module")
def model(folder):
    return load(str(folder))


def test_a_transformer_of_the_older_class_is_the_same_model(folder, model):
    """The published repository says Transformer2DModel, from which diffusers made PixArtTransformer2DModel."""
    for file in (folder / "model_index.json", folder / "transformer" / "config.json"):
        file.write_text(file.read_text().replace("PixArtTransformer2DModel", "Transformer2DModel"))
    older = load(str(folder))
    assert json.loads((folder / "model_index.json").read_text())["transformer"][1] == "Transformer2DModel"
    assert older.fingerprint == model.fingerprint and not older.transformer.use_additional_conditions


def test_captions_are_read_in_lower_case(model):
    vectors = {"<cat-toy>": random_rows("pixart_sigma")}
    upper, lower = (
        model.encode_text([text], vectors).hidden for text in ("A Photo of <cat-toy>", "a photo of <cat-toy>")
    )
    assert torch.equal(upper, lower)


def test_each_caption_of_a_batch_is_masked_at_its_own_length(model):
    captions = ["a dog", "a photo of a red dog on the beach"]
    batch = model.encode_text(captions, {})
    for row, caption in enumerate(captions):
        single = model.encode_text([caption], {})
        assert torch.equal(batch.mask[row], single.mask[0])
        assert batch.mask[row].sum() == len(caption.split()) + 1
        torch.testing.assert_close(batch.hidden[row], single.hidden[0])


def test_padding_does_not_change_the_prediction(model):
    text = model.encode_text(["a red dog"], {})
    x, t, geometry = torch.randn(1, 4, 16, 16), torch.tensor([500]), torch.zeros(1, 6)
    expected = model.predict(x, t, text, geometry)
    text.hidden[:, int(text.mask.sum()) :] = 100
    assert expected.shape == x.shape
    torch.testing.assert_close(model.predict(x, t, text, geometry), expected)
