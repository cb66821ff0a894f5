"""Our CLIP features agree with transformers' own preprocessing and models."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tests.tiny import tiny_tokenizer
from tinv.errors import UserError
from tinv.evaluation.metrics.base import Preprocessing
from tinv.evaluation.metrics.clip import Clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIP as transformers saves one."""
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = tiny_tokenizer()
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**layers, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    vision = {**layers, "image_size": 32, "patch_size": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def images() -> list[Image.Image]:
    gradient = Image.linear_gradient("L")
    sizes = [(48, 40), (32, 64), (100, 33), (20, 20)]
    return [Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180))).resize(size) for size in sizes]


def test_preprocessing_equals_that_of_transformers(folder: Path) -> None:
    theirs = CLIPImageProcessorPil.from_pretrained(folder)
    ours = Preprocessing.load(folder)
    for image in images():
        expected = torch.as_tensor(theirs(image, return_tensors="pt").pixel_values[0])
        assert torch.allclose(ours(image), expected, atol=0.02), image.size


def test_features_have_unit_length_and_do_not_depend_on_the_batch(folder: Path) -> None:
    clip = Clip.load(folder)
    features = clip.encode_images(images() * 10)
    assert features.shape == (40, 16)
    assert torch.allclose(features.norm(dim=1), torch.ones(40), atol=1e-5)
    assert torch.allclose(features[:1], clip.encode_images(images()[:1]), atol=1e-5)
    texts = clip.encode_texts(["a photo of a cat", "a toy"])
    assert torch.allclose(texts[1:], clip.encode_texts(["a toy"]), atol=1e-5)


def test_long_captions_are_truncated(folder: Path) -> None:
    assert Clip.load(folder).encode_texts(["a toy on the beach " * 40]).shape == (1, 16)


def test_a_folder_without_a_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder of a CLIP model"):
        Clip.load(tmp_path)
