import pytest

from tinv.concept import Concept
from tinv.data.captions import CaptionConfig, TagAugmentation, load_templates
from tinv.errors import UserError

CONCEPT = Concept(placeholder_token="<mug>")


@pytest.fixture
def images(tmp_path):
    """Two pictures' paths; the captions beside one of them say the word, those of the other do not."""
    (tmp_path / "on a table.txt").write_text("a photo of <mug>, worn\n")
    (tmp_path / "in the sun.caption").write_text("bright\nyellow\n")
    return [tmp_path / "on a table.jpg", tmp_path / "in the sun.jpg"]


def own_templates(tmp_path, text):
    (tmp_path / "own templates").write_text(text)
    return tmp_path / "own templates"


def said(caption_config, images):
    return {image.stem: list(captions) for image, captions in caption_config.load_captions(images, CONCEPT).items()}


def test_templates_are_the_same_for_all_and_unused_captions_are_named(images):
    with pytest.warns(
        UserWarning, match=r"no use of on a table\.txt, in the sun\.caption beside the pictures; files or"
    ):
        captions = said(CaptionConfig(), images)
    assert captions["on a table"] == captions["in the sun"] == [t.format("<mug>") for t in load_templates("object")]


def test_files_say_the_word_or_are_told_that_it_is_put_in_front(images):
    with pytest.warns(UserWarning, match=r"2 of 3 captions do not say <mug>, which is put in front: '<mug>, bright'"):
        captions = said(CaptionConfig(captions="files"), images)
    assert captions == {"on a table": ["a photo of <mug>, worn"], "in the sun": ["<mug>, bright", "<mug>, yellow"]}


def test_names_have_the_word_put_in_front(images, recwarn):
    captions = said(CaptionConfig(captions="names"), images)
    assert captions == {"on a table": ["<mug>, on a table"], "in the sun": ["<mug>, in the sun"]}
    assert not recwarn


def test_templates_and_captions_combine_each_with_each(images, tmp_path, recwarn):
    file = own_templates(tmp_path, "a {}\n[caption]: {}\n")
    captions = said(CaptionConfig(captions="templates+files", templates_file=file), images)
    assert captions["in the sun"] == ["a <mug>, bright", "bright: <mug>", "a <mug>, yellow", "yellow: <mug>"]
    captions = said(CaptionConfig(captions="templates+names"), images)["in the sun"]
    assert captions == [f"{template.format('<mug>')}, in the sun" for template in load_templates("object")]
    assert not recwarn


def test_every_caption_knows_where_it_is_written(images, tmp_path):
    file = own_templates(tmp_path, "a {}\n")
    places = {
        "templates": str(file),
        "files": "on a table.txt",
        "names": "the name of on a table.jpg",
        "templates+files": "on a table.txt",
        "templates+names": "the name of on a table.jpg",
    }
    for captions, place in places.items():
        templates_file = file if "templates" in captions else None
        assert CaptionConfig(captions=captions, templates_file=templates_file).source_of(images[0]) == place
    assert CaptionConfig().source_of(images[0]) == "the standard templates"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"captions": "txt"}, r"data\.captions must be one of templates, files, names, .* got 'txt'"),
        ({"tags": TagAugmentation(shuffle=True)}, r"are for the pictures' own captions; set data\.captions=files"),
        ({"captions": "files", "templates_file": "x"}, r"set data\.captions=templates\+files, or templates_file=null"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        CaptionConfig(**settings)


def test_a_place_for_captions_without_captions_is_refused(images, tmp_path):
    file = own_templates(tmp_path, "a {}\na {}, [caption]\n")
    with pytest.raises(UserError, match=r"has a place for \[caption\]; set data\.captions=templates\+files"):
        CaptionConfig(templates_file=file).load_captions(images[:0], CONCEPT)
