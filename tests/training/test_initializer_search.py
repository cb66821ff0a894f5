"""The word that a concept starts from, chosen by its pictures: the toybox's own CLIP looks at its own toys."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.tiny import tiny_tokenizer
from tinv.concept import Concept
from tinv.config.validate import ConfigError, build
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError
from tinv.evaluation.metrics.clip import Clip
from tinv.evaluation.metrics.word_ranking import _encode_short_texts, rank_words, vocabulary_words
from tinv.models import load_tokenizers
from tinv.toybox import CLIP
from tinv.toybox.toybench import NAMES, class_of
from tinv.training.concept_task import ConceptTask
from tinv.training.initializer_search import find_clip, resolve_initializer
from tinv.training.preflight import preflight

CLASSES = ["star", "house", "teapot", "mug", "car", "robot", "dog", "cat"]
TOYBOX = "pkg://tinv/toybox/pipeline"
PICTURES = Path(__file__).resolve().parents[2] / "tinv" / "toybox" / "toybench" / "pictures"


@pytest.fixture(scope="module")
def clip():
    return Clip.load(CLIP)


def pictures(name):
    return [Image.open(path).convert("RGB") for path in sorted((PICTURES / name).glob("*.png"))]


@pytest.mark.parametrize("name", NAMES)
def test_each_toy_is_called_what_it_is_by_those_who_know_the_words(clip, name):
    assert rank_words(clip, pictures(name), CLASSES, kind="object")[0][0] == class_of(name)


def test_likeness_is_the_mean_cosine_of_all_pictures_with_the_caption(clip):
    found = dict(rank_words(clip, pictures("teal_mug"), CLASSES, kind="object"))
    expected = clip.encode_images(pictures("teal_mug")) @ clip.encode_texts(["a photo of a mug"]).T
    assert found["mug"] == pytest.approx(expected.mean().item(), abs=1e-5)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_what_follows_the_end_of_a_text_has_no_influence(clip):
    captions = ["a photo of a mug", "a painting in the style of a teapot"]
    torch.testing.assert_close(_encode_short_texts(clip, captions), clip.encode_texts(captions), atol=1e-5, rtol=0)


def test_whole_words_are_single_tokens_and_nothing_else():
    tokenizer = tiny_tokenizer()
    words = vocabulary_words(tokenizer)
    assert {"toy", "cat", "photo", "drawing"} <= set(words)
    assert all(len(tokenizer(word, add_special_tokens=False).input_ids) == 1 for word in words)
    assert not {"a", "of", "in"} & set(words), "too short to name anything"


def test_from_there_on_it_is_as_if_the_word_had_been_set(compose):
    cfg = compose("+experiment=toybench", "concept.name=teal_robot", "embedding.init=clip")
    concept = Concept(placeholder_token="<teal-robot>", initializer_token=None)
    settings = EmbeddingConfig(init="clip", init_words=CLASSES, num_vectors=2, init_noise=0.3)
    lesson = ConceptTask(concept=concept, data=build(cfg.data), embedding=settings)
    chosen, said = resolve_initializer(lesson, TOYBOX, load_tokenizers(TOYBOX))
    assert chosen.concept == Concept(placeholder_token="<teal-robot>", initializer_token="robot")
    assert chosen.embedding == EmbeddingConfig(init="word", num_vectors=2, init_noise=0.3)
    assert said.startswith("<teal-robot>: starts from 'robot' (0.5") and ", before " in said


def test_other_starts_are_left_alone(compose):
    cfg = compose("+experiment=cat_toy")
    lesson = ConceptTask(concept=build(cfg.concept), data=build(cfg.data), embedding=build(cfg.embedding))
    assert resolve_initializer(lesson, TOYBOX, {}) == (lesson, None)


def test_without_its_clip_a_model_is_told_of_another_start(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        UserError, match=r"embedding\.init=clip: .*clip-vit-large-patch14.* or take embedding\.init=word"
    ):
        find_clip("stable-diffusion-v1-5/stable-diffusion-v1-5")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"init": "word", "init_words": ["cat"]}, "are for embedding.init=clip to choose from"),
        ({"init": "clip", "init_words": []}, "set init=clip and some words"),
    ],
)
def test_words_to_choose_from_go_with_clip_alone(settings, said):
    with pytest.raises(UserError, match=said):
        EmbeddingConfig(**settings)


def test_words_of_several_tokens_are_refused_before_anything_loads(compose):
    with pytest.raises(ConfigError, match=r"embedding\.init_words: 'zebra' is \d tokens"):
        preflight(compose("+experiment=cat_toy", "embedding.init=clip", "embedding.init_words=[cat,zebra]"))
