import re

import pytest

from tinv.concept import Concept, whole_word_regex
from tinv.errors import UserError


def test_vectors_are_spelled_as_diffusers_expands_them():
    assert Concept(placeholder_token="<cat>").words(3) == ("<cat>", "<cat>_1", "<cat>_2")


@pytest.mark.parametrize(
    ("placeholder_token", "slug"),
    [("<cat-toy>", "cat-toy"), ("sks", "sks"), ("<a/b\\c:d>", "abcd"), ("***", "concept"), ("<où>", "où")],
)
def test_slug_is_a_file_name_on_every_system(placeholder_token, slug):
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
def test_a_placeholder_that_cannot_be_typed_is_refused_with_one_that_can(placeholder_token, remedy):
    with pytest.raises(UserError, match=r"concept\.placeholder_token") as error:
        Concept(placeholder_token=placeholder_token)
    assert remedy in str(error.value)


def test_a_kind_is_object_or_style():
    """E-24: the reference script takes any other word for object."""
    with pytest.raises(UserError, match=r"concept\.kind must be object or style, got 'thing'"):
        Concept(placeholder_token="<x>", kind="thing")


@pytest.mark.parametrize(
    ("word", "text", "said"),
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
def test_a_word_is_found_whole_or_not_at_all(word, text, said):
    assert bool(re.search(whole_word_regex(word), text)) == said
