import re

import pytest

from tinv.concept import Concept, whole_word_regex
from tinv.errors import UserError


def test_vectors_have_the_tokens_that_diffusers_expands():
    assert Concept(placeholder_token="<cat>").words(3) == ("<cat>", "<cat>_1", "<cat>_2")


@pytest.mark.parametrize(
    ("placeholder_token", "slug"),
    [("<cat-toy>", "cat-toy"), ("sks", "sks"), ("<a/b\\c:d>", "abcd"), ("***", "concept"), ("<où>", "où")],
)
def test_a_slug_is_a_valid_file_name(placeholder_token, slug):
    assert Concept(placeholder_token=placeholder_token).slug == slug


@pytest.mark.parametrize(
    ("placeholder_token", "remedy"),
    [
        ("<cat toy>", "<cattoy>"),
        ("<Cat-Toy>", "<cat-toy>"),
        ("", "<my-concept>"),
        (" \t", "<my-concept>"),
        ("{}", "<>"),
    ],
)
def test_an_invalid_placeholder_token_is_refused_with_a_valid_one(placeholder_token, remedy):
    with pytest.raises(UserError, match=r"concept\.placeholder_token") as error:
        Concept(placeholder_token=placeholder_token)
    assert remedy in str(error.value)


def test_a_kind_is_object_or_style():
    with pytest.raises(UserError, match=r"concept\.kind='thing': must be object or style"):
        Concept(placeholder_token="<x>", kind="thing")


@pytest.mark.parametrize(
    ("word", "text", "matches"),
    [
        ("sks", "a sks dog", True),
        ("sks", "she asks", False),
        ("sks", "sks_1", False),
        ("<zorg>", "a<zorg>!", True),
        ("<zorg>", "<zorgon>", False),
        ("my-mug", "in my-mug, steaming", True),
        ("my-mug", "my-mugs", False),
    ],
)
def test_a_word_matches_only_as_a_whole(word, text, matches):
    assert bool(re.search(whole_word_regex(word), text)) == matches
