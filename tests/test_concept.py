import re

import pytest

from tinv.concept import Concept, slug, whole_word_regex
from tinv.errors import UserError


def test_vectors_have_the_tokens_that_diffusers_expands():
    assert Concept(placeholder_token="<cat>").words(3) == ("<cat>", "<cat>_1", "<cat>_2")


@pytest.mark.parametrize(
    ("token", "name"),
    [
        ("<cat-toy>", "cat-toy"),
        ("sks", "sks"),
        ("<a/b\\c:d>", "abcd"),
        ("***", "concept"),
        ("<où>", "où"),
        ("<nul>", "concept-nul"),
    ],
)
def test_a_slug_is_a_valid_file_name(token, name):
    assert slug(token) == name


@pytest.mark.parametrize(
    ("placeholder_token", "remedy"),
    [
        ("<cat toy>", "<cattoy>"),
        ("<Cat-Toy>", "<cat-toy>"),
        ("", "<my-concept>"),
        (" \t", "<my-concept>"),
        ("{}", "<>"),
        ("<a/b>", "'<ab>'"),
        ("../../x", "'....x'"),
        ("<cat\u202e>", "U+202E. Write '<cat>'"),
        ("<cat\ufe0f>", "U+FE0F. Write '<cat>'"),
        ("<cat\ud800>", "U+D800. Write '<cat>'"),
        ("<cat\x1b[2j>", "U+001B. Write '<cat[2j>'"),
        ("<cafe\u0301>", "normal form (NFKC) replaces, as some programs do with prompts. Write '<café>'"),
        ("<ｃat>", "'<cat>'"),
        ("<" + 60 * "é" + ">", "has 122 bytes"),
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
