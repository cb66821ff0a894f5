"""Our CLIP measures agree with transformers' own preprocessing and towers."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tests.tiny import tiny_tokenizer
from tinv.errors import UserError
from tinv.evaluation.metrics.clip import Clip
from tinv.evaluation.metrics.preprocessing import Preprocessing


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


def pictures() -> list[Image.Image]:
    gradient = Image.linear_gradient("L")
    sizes = [(48, 40), (32, 64), (100, 33), (20, 20)]
    return [Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180))).resize(size) for size in sizes]


def test_preprocessing_is_the_one_of_transformers(folder: Path) -> None:
    theirs = CLIPImageProcessorPil.from_pretrained(folder)
    ours = Preprocessing.load(folder)
    for picture in pictures():
        expected = torch.as_tensor(theirs(picture, return_tensors="pt").pixel_values[0])
        assert torch.allclose(ours(picture), expected, atol=0.02), picture.size


def test_features_have_unit_length_and_do_not_depend_on_neighbours(folder: Path) -> None:
    clip = Clip.load(folder)
    together = clip.images(pictures() * 10)
    assert together.shape == (40, 16)
    assert torch.allclose(together.norm(dim=1), torch.ones(40), atol=1e-5)
    assert torch.allclose(together[:1], clip.images(pictures()[:1]), atol=1e-5)
    texts = clip.texts(["a photo of a cat", "a toy"])
    assert torch.allclose(texts[1:], clip.texts(["a toy"]), atol=1e-5)


def test_long_captions_are_cut_to_what_the_tower_holds(folder: Path) -> None:
    assert Clip.load(folder).texts(["a toy on the beach " * 40]).shape == (1, 16)


def test_a_folder_without_a_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder of a CLIP model"):
        Clip.load(tmp_path)
