import pytest
import torch

from tests.tiny import tiny_tokenizer
from tinv import formats
from tinv.concept import Concept
from tinv.data.captions import load_templates
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError

TOKENIZER = tiny_tokenizer()
TABLE = torch.randn(len(TOKENIZER), 8, generator=torch.Generator().manual_seed(0)) * 0.02 + 0.001
CAPTIONS = {template.format("<cat-toy>"): "object.txt" for template in load_templates("object")}


def concept(placeholder_token="<cat-toy>", initializer_token="toy"):
    return Concept(placeholder_token=placeholder_token, initializer_token=initializer_token)


def start(seed=0, word=None, **settings):
    rows = EmbeddingConfig(**settings).init_parameters(
        word or concept(), tokenizers={"clip_l": TOKENIZER}, tables={"clip_l": TABLE}, seed=seed
    )
    return rows.vectors()["<cat-toy>"]["clip_l"].detach()


def row_of(word):
    (token,) = TOKENIZER(word, add_special_tokens=False).input_ids
    return TABLE[token]


def test_from_a_word_every_row_is_that_words_vector():
    assert torch.equal(start(num_vectors=3), row_of("toy").expand(3, -1))


def test_from_a_phrase_each_token_gets_a_row_and_then_they_begin_again():
    rows = start(num_vectors=3, init="phrase", word=concept(initializer_token="red cat"))
    assert torch.equal(rows, torch.stack([row_of("red"), row_of("cat"), row_of("red")]))


def test_the_mean_of_a_phrase_fits_into_one_row():
    rows = start(init="mean", word=concept(initializer_token="red cat"))
    torch.testing.assert_close(rows, (row_of("red") + row_of("cat"))[None] / 2)


def test_random_rows_have_the_vocabularys_mean_and_spread():
    rows = start(num_vectors=5000, init="random")
    torch.testing.assert_close(rows.mean(0), TABLE.mean(0), atol=2e-3, rtol=0)
    torch.testing.assert_close(rows.std(0), TABLE.std(0), atol=1e-3, rtol=0.05)


def test_random_starts_follow_the_seed():
    assert torch.equal(start(init="random", seed=1), start(init="random", seed=1))
    assert not torch.equal(start(init="random", seed=1), start(init="random", seed=2))


def test_noise_parts_equal_rows_by_its_share_of_the_spread():
    """E-21: several vectors that start equal are told apart by their positions only."""
    rows = start(num_vectors=2000, init_noise=0.5) - row_of("toy")
    torch.testing.assert_close(rows.std(), 0.5 * TABLE.std(), rtol=0.03, atol=0)


def test_a_file_is_gone_on_from(tmp_path):
    rows = torch.randn(2, 8)
    formats.write(tmp_path / "learned_embeds.safetensors", formats.LearnedEmbedding("<other>", {"clip_l": rows}))
    for place in (tmp_path, tmp_path / "learned_embeds.safetensors"):
        assert torch.equal(start(num_vectors=2, init="file", init_file=str(place)), rows)
    with pytest.raises(UserError, match=r"holds \{'clip_l': \[2, 8\]\}, but \[1, 8\] is needed"):
        start(init="file", init_file=str(tmp_path))


def test_rows_are_float32_under_every_precision():
    rows = EmbeddingConfig().init_parameters(
        concept(), tokenizers={"clip_l": TOKENIZER}, tables={"clip_l": TABLE.half()}, seed=0
    )
    before = rows.weights["clip_l"].detach().clone()
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        rows.to(dtype)
        assert torch.equal(rows.weights["clip_l"], before) and rows.weights["clip_l"].dtype == torch.float32


@pytest.mark.parametrize(
    ("word", "settings", "message"),
    [
        (concept("toy"), {}, r"'toy' is already a word of the tokenizer \(`toy</w>`\).*'<toy>'"),
        (concept("ph"), {}, r"'ph' is a sub-word .*\(alone it reads `p` `h</w>`\).* such as '<ph>'"),
        (concept("a"), {}, "already a word"),
        (concept(initializer_token="red cat"), {}, r"is 2 tokens \(`red</w>` `cat</w>`\).*init=mean.*num_vectors=2"),
        (concept(initializer_token="zebra"), {}, r"is 4 tokens \(`z` `e` `br` `a</w>`\)"),
        (concept(initializer_token="red cat toy"), {"init": "phrase", "num_vectors": 2}, "set embedding.num_vectors=3"),
        (concept(initializer_token=" "), {}, r"concept\.initializer_token must be a word .*init=random"),
        (concept(initializer_token=None), {"init": "mean"}, r"concept\.initializer_token must be a word"),
        (
            concept(),
            {"num_vectors": 70},
            r"'a close-up photo of a <cat-toy>' takes 7 of .* 75 .* \(object\.txt\); set it to 68 or less",
        ),
    ],
)
def test_words_that_cannot_be_learned_are_refused_with_their_tokens(word, settings, message):
    with pytest.raises(UserError, match=message):
        EmbeddingConfig(**settings).check(word, TOKENIZER, CAPTIONS)


def test_as_many_vectors_as_the_prompt_holds(recwarn):
    EmbeddingConfig(num_vectors=68).check(concept(), TOKENIZER, CAPTIONS)
    assert not recwarn


def test_a_caption_that_loses_its_end_is_named_with_its_file():
    captions = {"<cat-toy>" + ", toy" * n: f"{n}.txt" for n in (2, 36, 40)}
    with pytest.warns(UserWarning, match=r"reads 75 tokens.*; 1 of 3 captions are longer.*\(40\.txt\)"):
        EmbeddingConfig(num_vectors=3).check(concept(), TOKENIZER, captions)


def test_a_caption_that_loses_the_word_is_refused():
    captions = {"toy, " * 40 + "a <CAT-TOY>": "a.txt"}
    with pytest.raises(UserError, match=r"takes 81 of .* before <cat-toy> \(a\.txt\); say the word earlier in it"):
        EmbeddingConfig().check(concept(), TOKENIZER, captions)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_vectors": 0}, "num_vectors must be 1 or more"),
        ({"init": "zeros"}, "init must be one of word, phrase, mean, cross, clip, vocabulary, random, file"),
        ({"init_noise": -1.0}, "init_noise"),
        ({"init": "file"}, "go together"),
        ({"init_file": "x"}, "go together"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        EmbeddingConfig(**settings)
