"""The initializer token chosen by CLIP: the toybox's CLIP on its own toys."""

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
from tinv.toybox.toybench import NAMES, class_noun
from tinv.training.concept_task import ConceptTask
from tinv.training.initializer_search import find_clip, resolve_initializer
from tinv.training.preflight import preflight

CLASSES = ["star", "house", "teapot", "mug", "car", "robot", "dog", "cat"]
TOYBOX = "pkg://tinv/toybox/pipeline"
IMAGES = Path(__file__).resolve().parents[2] / "tinv" / "toybox" / "toybench" / "images"


@pytest.fixture(scope="module")
def clip():
    return Clip.load(CLIP)


def load_images(name):
    return [Image.open(path).convert("RGB") for path in sorted((IMAGES / name).glob("*.png"))]


@pytest.mark.parametrize("name", NAMES)
def test_clip_ranks_the_class_of_each_toy_first(clip, name):
    assert rank_words(clip, load_images(name), CLASSES, kind="object")[0][0] == class_noun(name)


def test_similarity_is_the_mean_cosine_of_all_images_with_the_caption(clip):
    similarities = dict(rank_words(clip, load_images("teal_mug"), CLASSES, kind="object"))
    expected = clip.encode_images(load_images("teal_mug")) @ clip.encode_texts(["a photo of a mug"]).T
    assert similarities["mug"] == pytest.approx(expected.mean().item(), abs=1e-5)
    assert list(similarities.values()) == sorted(similarities.values(), reverse=True)


def test_text_features_do_not_depend_on_padding(clip):
    captions = ["a photo of a mug", "a painting in the style of a teapot"]
    torch.testing.assert_close(_encode_short_texts(clip, captions), clip.encode_texts(captions), atol=1e-5, rtol=0)


def test_candidates_are_words_of_one_token_and_at_least_three_letters():
    tokenizer = tiny_tokenizer()
    words = vocabulary_words(tokenizer)
    assert {"toy", "cat", "photo", "drawing"} <= set(words)
    assert all(len(tokenizer(word, add_special_tokens=False).input_ids) == 1 for word in words)
    assert not {"a", "of", "in"} & set(words)


def test_resolved_task_is_the_one_with_that_initializer_token(compose):
    cfg = compose("+experiment=toybench", "concept.name=teal_robot", "embedding.init=clip")
    concept = Concept(placeholder_token="<teal-robot>", initializer_token=None)
    embedding = EmbeddingConfig(init="clip", init_words=CLASSES, num_vectors=2, init_noise=0.3)
    task = ConceptTask(concept=concept, data=build(cfg.data), embedding=embedding)
    resolved, message = resolve_initializer(task, TOYBOX, load_tokenizers(TOYBOX))
    assert resolved.concept == Concept(placeholder_token="<teal-robot>", initializer_token="robot")
    assert resolved.embedding == EmbeddingConfig(init="word", num_vectors=2, init_noise=0.3)
    assert message.startswith("<teal-robot>: initializer_token='robot' (CLIP similarity 0.5")


def test_other_inits_are_not_changed(compose):
    cfg = compose("+experiment=cat_toy")
    task = ConceptTask(concept=build(cfg.concept), data=build(cfg.data), embedding=build(cfg.embedding))
    assert resolve_initializer(task, TOYBOX, {}) == (task, None)


def test_missing_clip_is_reported_with_a_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"embedding\.init=clip: .*clip-vit-large-patch14.*set embedding\.init=word"):
        find_clip("stable-diffusion-v1-5/stable-diffusion-v1-5")


@pytest.mark.parametrize("settings", [{"init": "word", "init_words": ["cat"]}, {"init": "clip", "init_words": []}])
def test_init_words_require_init_clip_and_a_word(settings):
    with pytest.raises(UserError, match=r"embedding\.init_words"):
        EmbeddingConfig(**settings)


def test_init_words_of_several_tokens_are_rejected_before_anything_loads(compose):
    with pytest.raises(ConfigError, match=r"embedding\.init_words.*zebra"):
        preflight(compose("+experiment=cat_toy", "embedding.init=clip", "embedding.init_words=[cat,zebra]"))
