"""A form becomes the overrides that a shell would give."""

import shlex
from pathlib import Path

import pytest

from tinv.config.compose import Groups
from tinv.errors import UserError
from tinv.ui.training_command import build_overrides, group_options, quote, shown_command

HOSTILE = ["<my-cat>", "it's", "a b", "a,b", "[1]", "$(id)", "back\\", "back\\'", "'", "x=y", "{}", "é"]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_arrives_as_it_was_typed(value):
    (override,) = build_overrides({"placeholder_token": value}, images=None)
    assert Groups().parse(override).value() == value


@pytest.mark.parametrize("value", HOSTILE)
def test_a_shell_reads_the_shown_command_as_the_same_words(value):
    overrides = build_overrides({"placeholder_token": value}, images=Path("/tmp/a 'b'"))
    words = shlex.split(shown_command(overrides, Path("/tmp/out")))
    assert words == ["tinv-train", *overrides, "paths.root_dir=/tmp/out"]


def test_groups_images_settings_and_further_ones_are_in_the_order_of_precedence():
    form = {
        "experiment": "cat_toy",
        "recipe": "quick",
        "model": "sd15",
        "seed": "7",
        "further": "data.flip=true 'a=b c'",
    }
    overrides = build_overrides({**form, "has_captions": True}, images=Path("/images"))
    expected = "+experiment=cat_toy +recipe=quick model=sd15 data.folder=/images data.captions=files seed=7".split()
    assert overrides == [*expected, "data.flip=true", "a=b c"]
    assert build_overrides({}, images=None) == []


@pytest.mark.parametrize("form", [{"model": "../../x"}, {"experiment": "none"}, {"further": "'open"}])
def test_what_no_shell_would_take_is_refused(form):
    with pytest.raises(UserError):
        build_overrides(form, images=None)


def test_every_option_has_a_description():
    options = group_options()
    assert "cat_toy" in options["experiment"] and "sd15" in options["model"]
    assert all(comment for group in ("experiment", "recipe", "memory") for comment in options[group].values())


def test_plain_values_need_no_quotes():
    assert [quote(text) for text in ("my-mug", "1e-3", "/a/b.c", "")] == ["my-mug", "1e-3", "/a/b.c", "''"]
