from collections import Counter

import pytest

from tinv.data.captions import (
    Captions,
    TagAugmentation,
    add_caption_field,
    captions_from_names,
    insert_placeholder,
    read_caption_files,
)
from tinv.errors import UserError
from tinv.seeding import generator

WORD = "<mug>"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a photo of <mug> on a table", "a photo of <mug> on a table"),
        ("a photo of <MUG>", "a photo of <MUG>"),
        ("a photo of {} on a table", "a photo of <mug> on a table"),
        ("on a table", "<mug>, on a table"),
        ("a <mugs> on a table", "<mug>, a <mugs> on a table"),
    ],
)
def test_a_caption_says_the_word_where_it_does_already_or_in_the_gap_or_in_front(text, said):
    assert insert_placeholder(text, WORD) == said


def test_a_template_takes_the_caption_where_it_has_a_place_for_it_or_at_its_end():
    templates = add_caption_field(["a photo of a {}", "[caption], by {}"])
    captions = Captions(WORD, templates, ("on a table", "in {}'s box"))
    assert [captions[i] for i in range(len(captions))] == [
        "a photo of a <mug>, on a table",
        "on a table, by <mug>",
        "a photo of a <mug>, in <mug>'s box",
        "in <mug>'s box, by <mug>",
    ]


def test_templates_alone_are_filled_as_ever():
    captions = Captions(WORD, ("a photo of a {}", "{} again"))
    assert [captions[i] for i in range(len(captions))] == ["a photo of a <mug>", "<mug> again"]
    assert not captions.varies


def varied(tags, text="red, a photo of <mug>, on a table, worn", template="[caption]", count=200):
    captions = Captions(WORD, (template,), (text,), tags)
    return Counter(captions.varied(0, generator("tags", n)) for n in range(count))


def test_shuffled_tags_keep_the_word_in_front_and_lose_nothing():
    said = varied(TagAugmentation(shuffle=True))
    assert len(said) == 6
    for caption in said:
        assert caption.startswith("a photo of <mug>, ")
        assert sorted(caption.split(", ")) == ["a photo of <mug>", "on a table", "red", "worn"]


def test_dropped_tags_are_never_the_word_and_the_rest_stays_in_order():
    said = varied(TagAugmentation(drop=0.5), count=2000)
    tags = Counter(tag for caption, times in said.items() for tag in caption.split(", ") * times)
    assert tags["a photo of <mug>"] == 2000
    assert all(900 < tags[tag] < 1100 for tag in ("red", "on a table", "worn"))
    order = ["red", "a photo of <mug>", "on a table", "worn"]
    assert all(caption.split(", ") == [tag for tag in order if tag in caption.split(", ")] for caption in said)


def test_a_dropped_caption_leaves_the_word_or_the_template():
    said = varied(TagAugmentation(drop_caption=0.25), count=2000)
    assert set(said) == {"red, a photo of <mug>, on a table, worn", WORD} and 400 < said[WORD] < 600
    assert set(varied(TagAugmentation(drop_caption=1.0), template="a photo of a {}, [caption], sharp")) == {
        "a photo of a <mug>, sharp"
    }
    assert set(varied(TagAugmentation(drop=1.0), text="red, worn", template="a photo of a {}, [caption]")) == {
        "a photo of a <mug>"
    }


def test_a_caption_varies_with_its_draw_alone():
    assert varied(TagAugmentation(shuffle=True, drop=0.3)) == varied(TagAugmentation(shuffle=True, drop=0.3))


@pytest.mark.parametrize(("name", "share"), [("drop", 1.1), ("drop", -0.1), ("drop_caption", 2.0)])
def test_shares_are_between_nothing_and_all(name, share):
    with pytest.raises(UserError, match=r"data\.drop_(tags|caption) is a share"):
        TagAugmentation(**{name: share})


def folder(tmp_path, **files):
    for name, text in files.items():
        (tmp_path / name.replace("__", ".")).write_bytes(text.encode() if isinstance(text, str) else text)
    return tmp_path


def test_files_say_a_caption_a_line_whatever_their_ending_and_their_first_bytes(tmp_path):
    folder(tmp_path, a__txt="\ufeffa red mug\r\n\r\n  worn  \n", b__caption="blue")
    texts = read_caption_files([tmp_path / "a.png", tmp_path / "b.jpg"])
    assert list(texts.values()) == [("a red mug", "worn"), ("blue",)]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"no caption beside a\.png; write one into a\.txt, or set data\.captions=templates"),
        ({"a__txt": "x", "a__caption": "y"}, r"both a\.txt and a\.caption; keep one"),
        ({"a__txt": " \n"}, r"a\.txt is empty"),
        ({"a__txt": b"caf\xe9"}, r"cannot read .*a\.txt .*UTF-8"),
    ],
)
def test_a_file_that_says_nothing_is_named(tmp_path, files, message):
    with pytest.raises(UserError, match=message):
        read_caption_files([folder(tmp_path, **files) / "a.png"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a red mug.jpg", "a red mug"),
        ("02_a_red-haired__toy (3).jpg", "a red-haired toy"),
        ("0001 - red, worn.png", "red, worn"),
        ("red mug 12.png", "red mug"),
        ("3d print.png", "3d print"),
        ("<mug> on route66.png", "<mug> on route66"),
    ],
)
def test_names_say_their_words_without_their_numbers(tmp_path, name, text):
    assert captions_from_names([tmp_path / name]) == {tmp_path / name: (text,)}


def test_names_without_words_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no words in the name of 0001\.jpg, 2 \(1\)\.png;"):
        captions_from_names([tmp_path / "0001.jpg", tmp_path / "a.jpg", tmp_path / "2 (1).png"])
