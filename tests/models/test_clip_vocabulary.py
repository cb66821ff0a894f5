"""CLIP's published vocabulary: token ids, and tiny models of the published layouts with all of its tokens."""

import copy

import pytest
import torch

from tests.clip_words import NUM_WORDS, clip_tokenizer, original_ids
from tests.models.published import save, sd1, sdxl
from tests.tiny import tiny_module
from tinv.concept import Concept
from tinv.data.captions import load_templates
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError
from tinv.models import load, load_tokenizers
from tinv.models.text_encoder import PromptTokenizer

BEGIN, END = NUM_WORDS - 2, NUM_WORDS - 1
CAPTIONS = {f"line {i}": text.format("<cat-toy>") for i, text in enumerate(load_templates("object"))}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Tiny models of the published layouts with the whole vocabulary."""
    root = tmp_path_factory.mktemp("models")
    return {"sd1": save(sd1(clip_tokenizer()), root / "sd1"), "sdxl": save(sdxl(clip_tokenizer()), root / "sdxl")}


def ids(text):
    return clip_tokenizer()(text, add_special_tokens=False).input_ids


def test_the_vocabulary_is_the_published_one():
    tokenizer = clip_tokenizer()
    assert len(tokenizer) == NUM_WORDS
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (BEGIN, END, END)
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]


@pytest.mark.parametrize("text", ["toy", "<cat-toy>", "a photo of a <cat-toy>, on the beach!", "naïve 数 🐈 x86's"])
def test_ids_are_those_of_openais_own_code(text):
    assert ids(text) == original_ids(text)


def test_the_ids_of_templates_are_those_of_openais_own_code():
    for kind in ("object", "style"):
        for template in load_templates(kind):
            assert ids(template.format("toy")) == original_ids(template.format("toy"))


def test_a_placeholder_is_one_id_behind_the_vocabulary_instead_of_several():
    prompts = PromptTokenizer(clip_tokenizer(), num_embeddings=NUM_WORDS)
    assert len(ids("<cat-toy>")) == 5 and len(ids("toy")) == 1
    assert prompts.tokenize("a <cat-toy>", {"<cat-toy>": 2}) == [320, NUM_WORDS, NUM_WORDS + 1]
    (sequence,) = prompts.ids(["a <cat-toy>"], {"<cat-toy>": 1}).tolist()
    assert sequence == [BEGIN, 320, NUM_WORDS, END] + [END] * 73


@pytest.mark.parametrize("word", ["toy", "sks", "cat", "<|endoftext|>"])
def test_a_word_of_the_vocabulary_is_no_placeholder(word):
    """CLIP stores whole words as `toy</w>`, so looking for `toy` alone misses them."""
    concept = Concept(placeholder_token=word, initializer_token="toy")
    with pytest.raises(UserError, match="already a token of the tokenizer"):
        EmbeddingConfig().check(concept, clip_tokenizer(), CAPTIONS)


def test_a_sub_word_is_no_placeholder():
    """`orche` is no word, but the tokenizer builds `orchestra` from it."""
    assert "orche" in clip_tokenizer().get_vocab() and ids("orche") != [clip_tokenizer().get_vocab()["orche"]]
    with pytest.raises(UserError, match=": a sub-word"):
        EmbeddingConfig().check(Concept(placeholder_token="orche", initializer_token="toy"), clip_tokenizer(), CAPTIONS)


@pytest.mark.parametrize("word", ["", "  ", None])
def test_an_empty_initializer_is_refused(word):
    with pytest.raises(UserError, match=r"concept\.initializer_token"):
        EmbeddingConfig().check(
            Concept(placeholder_token="<cat-toy>", initializer_token=word), clip_tokenizer(), CAPTIONS
        )


def test_an_initializer_of_several_tokens_is_refused_with_its_tokens():
    with pytest.raises(UserError, match=r"2 tokens \(`toy` `box</w>`\), but embedding\.init=word takes one"):
        EmbeddingConfig().check(
            Concept(placeholder_token="<cat-toy>", initializer_token="toybox"), clip_tokenizer(), CAPTIONS
        )


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_models_are_loaded_with_the_whole_vocabulary(folders, name):
    model = load(str(folders[name]))
    assert {len(table) for table in model.tables.values()} == {NUM_WORDS}
    pads = {"clip_l": END, "clip_g": 0}
    for encoder, tokenizer in model.tokenizers.items():
        assert (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.model_max_length) == (END, pads[encoder], 77)
        assert tokenizer.get_vocab() == clip_tokenizer().get_vocab()
    assert load_tokenizers(str(folders[name])).keys() == model.tables.keys()


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_learned_tokens_are_encoded_as_by_diffusers(folders, name):
    model = load(str(folders[name]))
    concept = Concept(placeholder_token="<cat-toy>", initializer_token="toy")
    module = tiny_module(model, concept=concept, num_vectors=2, init_noise=0.5)
    for encoder, vectors_KD in module.export_vectors()["<cat-toy>"].items():
        toy = model.tables[encoder][ids("toy")[0]]
        assert not torch.equal(vectors_KD[0], vectors_KD[1]) and (vectors_KD - toy).abs().max() < 0.2
    prompt = "a photo of a <cat-toy>, on the beach"
    text = model.encode_text([prompt], module.export_vectors())
    pipeline = copy.deepcopy({"sd1": sd1, "sdxl": sdxl}[name](clip_tokenizer()))
    for encoder, part in zip(model.tables, ("", "_2"), strict=False):
        vectors_KD = module.export_vectors()["<cat-toy>"][encoder]
        parts = {kind: getattr(pipeline, kind + part) for kind in ("tokenizer", "text_encoder")}
        pipeline.load_textual_inversion(vectors_KD, token="<cat-toy>", **parts)
    with torch.no_grad():
        hidden = pipeline.encode_prompt(prompt, "cpu", 1, False) if name == "sd1" else pipeline.encode_prompt(prompt)
    torch.testing.assert_close(text.hidden, hidden[0], atol=1e-6, rtol=0)
