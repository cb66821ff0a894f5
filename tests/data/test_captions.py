from collections import Counter

import pytest

from tinv.concept import Concept
from tinv.data.captions import (
    CaptionConfig,
    Captions,
    TagAugmentation,
    add_caption_field,
    captions_from_names,
    insert_placeholder,
    load_templates,
    read_caption_files,
    read_templates,
)
from tinv.errors import UserError
from tinv.seeding import generator

TOKEN = "<mug>"
CONCEPT = Concept(placeholder_token=TOKEN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a photo of <mug> on a table", "a photo of <mug> on a table"),
        ("a photo of <MUG>", "a photo of <MUG>"),
        ("a photo of {} on a table", "a photo of <mug> on a table"),
        ("on a table", "<mug>, on a table"),
        ("a <mugs> on a table", "<mug>, a <mugs> on a table"),
    ],
)
def test_the_placeholder_token_fills_its_field_or_is_put_in_front(text, expected):
    assert insert_placeholder(text, TOKEN) == expected


def test_a_template_takes_the_caption_in_its_field_or_at_its_end():
    templates = add_caption_field(["a photo of a {}", "[caption], by {}"])
    captions = Captions(TOKEN, templates, ("on a table", "in {}'s box"))
    assert [captions[i] for i in range(len(captions))] == [
        "a photo of a <mug>, on a table",
        "on a table, by <mug>",
        "a photo of a <mug>, in <mug>'s box",
        "in <mug>'s box, by <mug>",
    ]


def test_templates_without_captions():
    captions = Captions(TOKEN, ("a photo of a {}", "{} again"))
    assert [captions[i] for i in range(len(captions))] == ["a photo of a <mug>", "<mug> again"]
    assert not captions.is_augmented


def augment(augmentation, text="red, a photo of <mug>, on a table, worn", template="[caption]", count=200):
    captions = Captions(TOKEN, (template,), (text,), augmentation)
    return Counter(captions.augmented(0, generator("tags", n)) for n in range(count))


def test_shuffled_tags_begin_with_the_placeholder_token():
    captions = augment(TagAugmentation(shuffle_tags=True))
    assert len(captions) == 6
    for caption in captions:
        assert caption.startswith("a photo of <mug>, ")
        assert sorted(caption.split(", ")) == ["a photo of <mug>", "on a table", "red", "worn"]


def test_the_tag_with_the_placeholder_token_is_never_dropped():
    captions = augment(TagAugmentation(drop_tags=0.5), count=2000)
    tags = Counter(tag for caption, times in captions.items() for tag in caption.split(", ") * times)
    assert tags["a photo of <mug>"] == 2000
    assert all(900 < tags[tag] < 1100 for tag in ("red", "on a table", "worn"))
    order = ["red", "a photo of <mug>", "on a table", "worn"]
    assert all(caption.split(", ") == [tag for tag in order if tag in caption.split(", ")] for caption in captions)


def test_a_dropped_caption_leaves_the_token_or_the_template():
    captions = augment(TagAugmentation(drop_caption=0.25), count=2000)
    assert set(captions) == {"red, a photo of <mug>, on a table, worn", TOKEN} and 400 < captions[TOKEN] < 600
    assert set(augment(TagAugmentation(drop_caption=1.0), template="a photo of a {}, [caption], sharp")) == {
        "a photo of a <mug>, sharp"
    }
    assert set(augment(TagAugmentation(drop_tags=1.0), text="red, worn", template="a photo of a {}, [caption]")) == {
        "a photo of a <mug>"
    }


def test_augmentation_is_a_function_of_the_generator():
    assert augment(TagAugmentation(True, 0.3)) == augment(TagAugmentation(True, 0.3))


@pytest.mark.parametrize(("name", "value"), [("drop_tags", 1.1), ("drop_tags", -0.1), ("drop_caption", 2.0)])
def test_probabilities_are_between_0_and_1(name, value):
    with pytest.raises(UserError, match=r"data\.drop_(tags|caption)=.*between 0 and 1"):
        TagAugmentation(**{name: value})


def write_files(tmp_path, **files):
    for name, text in files.items():
        (tmp_path / name.replace("__", ".")).write_bytes(text.encode() if isinstance(text, str) else text)
    return tmp_path


def test_a_caption_file_has_one_caption_per_line(tmp_path):
    write_files(tmp_path, a__txt="\ufeffa red mug\r\n\r\n  worn  \n", b__caption="blue")
    texts = read_caption_files([tmp_path / "a.png", tmp_path / "b.jpg"])
    assert list(texts.values()) == [("a red mug", "worn"), ("blue",)]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"a\.png: no caption file beside the image\. Write a caption into a\.txt, or"),
        ({"a__txt": "x", "a__caption": "y"}, r"two caption files: a\.txt and a\.caption\. Delete one"),
        ({"a__txt": " \n"}, r"a\.txt is empty"),
        ({"a__txt": b"caf\xe9"}, r"cannot read .*a\.txt .*UTF-8"),
    ],
)
def test_an_unusable_caption_file_is_named(tmp_path, files, message):
    with pytest.raises(UserError, match=message):
        read_caption_files([write_files(tmp_path, **files) / "a.png"])


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
def test_captions_from_names_have_no_numbers(tmp_path, name, text):
    assert captions_from_names([tmp_path / name]) == {tmp_path / name: (text,)}


def test_file_names_without_words_are_an_error(tmp_path):
    with pytest.raises(UserError, match=r"no words in the file name of 0001\.jpg, 2 \(1\)\.png\."):
        captions_from_names([tmp_path / "0001.jpg", tmp_path / "a.jpg", tmp_path / "2 (1).png"])


@pytest.fixture
def images(tmp_path):
    """Paths of two images; only the captions of the first mention the placeholder token."""
    (tmp_path / "on a table.txt").write_text("a photo of <mug>, worn\n")
    (tmp_path / "in the sun.caption").write_text("bright\nyellow\n")
    return [tmp_path / "on a table.jpg", tmp_path / "in the sun.jpg"]


def write_templates(tmp_path, text):
    (tmp_path / "templates").write_text(text)
    return tmp_path / "templates"


def load(caption_config, images):
    return {image.stem: list(captions) for image, captions in caption_config.load_captions(images, CONCEPT).items()}


def test_templates_are_the_same_for_all_images_and_unused_caption_files_are_named(images):
    with pytest.warns(UserWarning, match=r"ignores the caption files on a table\.txt, in the sun\.caption"):
        captions = load(CaptionConfig(), images)
    assert captions["on a table"] == captions["in the sun"] == [t.format("<mug>") for t in load_templates("object")]


def test_a_warning_names_captions_without_the_placeholder_token(images):
    with pytest.warns(
        UserWarning, match=r"2 of 3 captions do not mention <mug>, so it was put in front: '<mug>, bright'"
    ):
        captions = load(CaptionConfig(captions="files"), images)
    assert captions == {"on a table": ["a photo of <mug>, worn"], "in the sun": ["<mug>, bright", "<mug>, yellow"]}


def test_captions_from_names_begin_with_the_placeholder_token(images, recwarn):
    captions = load(CaptionConfig(captions="names"), images)
    assert captions == {"on a table": ["<mug>, on a table"], "in the sun": ["<mug>, in the sun"]}
    assert not recwarn


def test_every_template_is_combined_with_every_caption(images, tmp_path, recwarn):
    file = write_templates(tmp_path, "a {}\n[caption]: {}\n")
    captions = load(CaptionConfig(captions="templates+files", templates_file=file), images)
    assert captions["in the sun"] == ["a <mug>, bright", "bright: <mug>", "a <mug>, yellow", "yellow: <mug>"]
    captions = load(CaptionConfig(captions="templates+names"), images)["in the sun"]
    assert captions == [f"{template.format('<mug>')}, in the sun" for template in load_templates("object")]
    assert not recwarn


def test_source_of_names_the_file_of_a_caption(images, tmp_path):
    file = write_templates(tmp_path, "a {}\n")
    sources = {
        "templates": str(file),
        "files": "on a table.txt",
        "names": "the name of on a table.jpg",
        "templates+files": "on a table.txt",
        "templates+names": "the name of on a table.jpg",
    }
    for captions, source in sources.items():
        templates_file = file if "templates" in captions else None
        assert CaptionConfig(captions=captions, templates_file=templates_file).source_of(images[0]) == source
    assert CaptionConfig().source_of(images[0]) == "the standard templates"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"captions": "txt"}, r"data\.captions=txt: must be one of templates, files, names"),
        (
            {"augmentation": TagAugmentation(shuffle_tags=True)},
            r"data\.captions=templates uses none\. Set data\.captions=files",
        ),
        (
            {"captions": "files", "templates_file": "x"},
            r"Set data\.captions=templates\+files, or data\.templates_file=null",
        ),
    ],
)
def test_settings_without_an_effect_are_an_error(settings, message):
    with pytest.raises(UserError, match=message):
        CaptionConfig(**settings)


def test_a_caption_field_without_captions_is_an_error(images, tmp_path):
    file = write_templates(tmp_path, "a {}\na {}, [caption]\n")
    with pytest.raises(UserError, match=r"a template contains \[caption\].* Set data\.captions=templates\+files"):
        CaptionConfig(templates_file=file).load_captions(images[:0], CONCEPT)


def test_standard_templates_have_the_published_numbers():
    assert (len(load_templates("object")), len(set(load_templates("object")))) == (27, 27)
    assert (len(load_templates("style")), len(set(load_templates("style")))) == (19, 17)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# only this\n", "has no template"),
        ("a photo\n", "exactly one"),
        ("{} and {}", "exactly one"),
        ("a {0}", "exactly one"),
        ("{} {x}", "exactly one"),
        ("a photo of [name], [filewords]", r"AUTOMATIC1111's \[name\] is \{\} here, and \[filewords\] is \[caption\]"),
    ],
)
def test_a_template_without_exactly_one_field_is_an_error(tmp_path, text, message):
    (tmp_path / "templates.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        read_templates(tmp_path / "templates.txt")


def test_a_missing_template_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*templates\.txt"):
        read_templates(tmp_path / "templates.txt")
