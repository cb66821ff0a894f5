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


def init(seed=0, of=None, **settings):
    parameters = EmbeddingConfig(**settings).init_parameters(
        of or concept(), tokenizers={"clip_l": TOKENIZER}, tables={"clip_l": TABLE}, seed=seed
    )
    return parameters.vectors()["<cat-toy>"]["clip_l"].detach()


def vector_of(word):
    (token,) = TOKENIZER(word, add_special_tokens=False).input_ids
    return TABLE[token]


def test_word_copies_the_initializer_into_every_vector():
    assert torch.equal(init(num_vectors=3), vector_of("toy").expand(3, -1))


def test_phrase_repeats_the_initializers_tokens():
    vectors = init(num_vectors=3, init="phrase", of=concept(initializer_token="red cat"))
    assert torch.equal(vectors, torch.stack([vector_of("red"), vector_of("cat"), vector_of("red")]))


def test_mean_is_the_mean_of_the_initializers_tokens():
    vectors = init(init="mean", of=concept(initializer_token="red cat"))
    torch.testing.assert_close(vectors, (vector_of("red") + vector_of("cat"))[None] / 2)


def test_random_has_the_vocabularys_mean_and_standard_deviation():
    vectors = init(num_vectors=5000, init="random")
    torch.testing.assert_close(vectors.mean(0), TABLE.mean(0), atol=2e-3, rtol=0)
    torch.testing.assert_close(vectors.std(0), TABLE.std(0), atol=1e-3, rtol=0.05)


def test_random_is_a_function_of_the_seed():
    assert torch.equal(init(init="random", seed=1), init(init="random", seed=1))
    assert not torch.equal(init(init="random", seed=1), init(init="random", seed=2))


def test_init_noise_is_in_standard_deviations_of_the_vocabulary():
    vectors = init(num_vectors=2000, init_noise=0.5) - vector_of("toy")
    torch.testing.assert_close(vectors.std(), 0.5 * TABLE.std(), rtol=0.03, atol=0)


def test_file_reads_an_embedding(tmp_path):
    vectors = torch.randn(2, 8)
    formats.write(tmp_path / "learned_embeds.safetensors", formats.LearnedEmbedding("<other>", {"clip_l": vectors}))
    for path in (tmp_path, tmp_path / "learned_embeds.safetensors"):
        assert torch.equal(init(num_vectors=2, init="file", init_file=str(path)), vectors)
    with pytest.raises(UserError, match=r"has \{'clip_l': \[2, 8\]\}, but clip_l needs \[1, 8\]"):
        init(init="file", init_file=str(tmp_path))


def test_parameters_stay_float32_in_every_precision():
    parameters = EmbeddingConfig().init_parameters(
        concept(), tokenizers={"clip_l": TOKENIZER}, tables={"clip_l": TABLE.half()}, seed=0
    )
    before = parameters.weights["clip_l"].detach().clone()
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        parameters.to(dtype)
        assert torch.equal(parameters.weights["clip_l"], before) and parameters.weights["clip_l"].dtype == torch.float32


@pytest.mark.parametrize(
    ("of", "settings", "message"),
    [
        (concept("toy"), {}, r"'toy': already a token of the tokenizer \(`toy</w>`\).*'<toy>'"),
        (concept("ph"), {}, r"'ph': a sub-word .*\(alone it is `p` `h</w>`\).* such as '<ph>'"),
        (concept("a"), {}, "already a token"),
        (concept(initializer_token="red cat"), {}, r"2 tokens \(`red</w>` `cat</w>`\).*init=mean.*num_vectors=2"),
        (concept(initializer_token="zebra"), {}, r"4 tokens \(`z` `e` `br` `a</w>`\)"),
        (concept(initializer_token="red cat toy"), {"init": "phrase", "num_vectors": 2}, "Set embedding.num_vectors=3"),
        (concept(initializer_token=" "), {}, r"concept\.initializer_token=.* needs a word.*init=random"),
        (concept(initializer_token=None), {"init": "mean"}, r"concept\.initializer_token=None: .*needs a word"),
        (
            concept(),
            {"num_vectors": 70},
            r"'a close-up photo of a <cat-toy>' \(object\.txt\) uses 7 of .* 75 .*Set it to 68 or less",
        ),
    ],
)
def test_unusable_tokens_are_an_error_that_shows_their_pieces(of, settings, message):
    with pytest.raises(UserError, match=message):
        EmbeddingConfig(**settings).check(of, TOKENIZER, CAPTIONS)


def test_as_many_vectors_as_fit_into_a_prompt(recwarn):
    EmbeddingConfig(num_vectors=68).check(concept(), TOKENIZER, CAPTIONS)
    assert not recwarn


def test_a_warning_names_truncated_captions():
    captions = {"<cat-toy>" + ", toy" * n: f"{n}.txt" for n in (2, 36, 40)}
    with pytest.warns(UserWarning, match=r"1 of 3 captions are truncated to the text encoder's 75 tokens.*\(40\.txt\)"):
        EmbeddingConfig(num_vectors=3).check(concept(), TOKENIZER, captions)


def test_a_caption_that_truncates_the_placeholder_token_is_an_error():
    captions = {"toy, " * 40 + "a <CAT-TOY>": "a.txt"}
    with pytest.raises(UserError, match=r"\(a\.txt\) uses 81 of .* before <cat-toy>\. Mention the token earlier"):
        EmbeddingConfig().check(concept(), TOKENIZER, captions)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_vectors": 0}, "num_vectors=0: must be 1 or more"),
        ({"init": "zeros"}, "init=zeros: must be one of word, phrase, mean, cross, clip, vocabulary, random, file"),
        ({"init_noise": -1.0}, "init_noise"),
        ({"init": "file"}, "Set both or neither"),
        ({"init_file": "x"}, "Set both or neither"),
    ],
)
def test_invalid_settings_are_an_error(settings, message):
    with pytest.raises(UserError, match=message):
        EmbeddingConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "encoders", "has_unet", "message"),
    [
        ({"encoders": ["t5"]}, ["clip_l"], True, r"embedding\.encoders=\['t5'\]: the model has clip_l"),
        ({"encoders": []}, ["clip_l"], True, r"embedding\.encoders=\[\]: the model has clip_l"),
        ({"per_layer": True}, ["t5"], False, "embedding.per_layer=true is for Stable Diffusion 1 and 2"),
        ({"init": "cross"}, ["clip_l", "t5"], False, "embedding.init=cross is for Stable Diffusion"),
        ({"init": "cross", "encoders": ["clip_g"]}, ["clip_l", "clip_g"], True, "embedding.encoders=null"),
    ],
)
def test_settings_that_a_model_does_not_support_are_an_error(settings, encoders, has_unet, message):
    with pytest.raises(UserError, match=message):
        EmbeddingConfig(**settings).check_model(encoders, has_unet=has_unet)
