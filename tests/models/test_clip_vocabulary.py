"""CLIP's published vocabulary: token ids, and tiny models of the published layouts with all of its tokens."""

import pytest
import torch

from tests.clip_words import NUM_WORDS, clip_tokenizer, original_ids
from tests.models.published import LAYOUTS, save, with_vectors
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
    return {name: save(LAYOUTS[name](clip_tokenizer()), root / name) for name in ("sd1", "sdxl")}


def ids(text):
    return clip_tokenizer()(text, add_special_tokens=False).input_ids


def test_the_vocabulary_is_the_published_one():
    tokenizer = clip_tokenizer()
    assert len(tokenizer) == NUM_WORDS
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (BEGIN, END, END)
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]


def test_ids_are_those_of_openais_own_code():
    templates = [template.format("toy") for kind in ("object", "style") for template in load_templates(kind)]
    for text in ["toy", "<cat-toy>", "a photo of a <cat-toy>, on the beach!", "naïve 数 🐈 x86's", *templates]:
        assert ids(text) == original_ids(text)


def test_a_placeholder_is_one_id_behind_the_vocabulary_instead_of_several():
    prompts = PromptTokenizer(clip_tokenizer(), num_embeddings=NUM_WORDS)
    assert len(ids("<cat-toy>")) == 5 and len(ids("toy")) == 1
    assert prompts.tokenize("a <cat-toy>", {"<cat-toy>": 2}) == [320, NUM_WORDS, NUM_WORDS + 1]
    (sequence,) = prompts.ids(["a <cat-toy>"], {"<cat-toy>": 1}).tolist()
    assert sequence == [BEGIN, 320, NUM_WORDS, END] + [END] * 73


@pytest.mark.parametrize(
    ("placeholder", "initializer", "message"),
    [
        # CLIP stores whole words as `toy</w>`, so looking for `toy` alone misses them
        *((word, "toy", "already a token of the tokenizer") for word in ("toy", "sks", "cat", "<|endoftext|>")),
        ("orche", "toy", ": a sub-word"),  # no word, but the tokenizer builds `orchestra` from it
        *(("<cat-toy>", word, r"concept\.initializer_token") for word in ("", "  ", None)),
        ("<cat-toy>", "toybox", r"2 tokens \(`toy` `box</w>`\), but embedding\.init=word takes one"),
    ],
)
def test_tokens_that_do_not_suit_the_vocabulary_are_refused(placeholder, initializer, message):
    concept = Concept(placeholder_token=placeholder, initializer_token=initializer)
    with pytest.raises(UserError, match=message):
        EmbeddingConfig().check(concept, clip_tokenizer(), CAPTIONS)


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
    pipeline = with_vectors(LAYOUTS[name](clip_tokenizer()), module.export_vectors()["<cat-toy>"])
    with torch.no_grad():
        hidden = pipeline.encode_prompt(prompt, "cpu", 1, False) if name == "sd1" else pipeline.encode_prompt(prompt)
    torch.testing.assert_close(text.hidden, hidden[0], atol=1e-6, rtol=0)
