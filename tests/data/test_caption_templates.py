import pytest

from tinv.data.captions import load_templates, read_templates
from tinv.errors import UserError


def test_the_standard_lists_have_the_published_lengths():
    assert (len(load_templates("object")), len(set(load_templates("object")))) == (27, 27)
    assert (len(load_templates("style")), len(set(load_templates("style")))) == (19, 17)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no caption"),
        ("# only this\n", "holds no caption"),
        ("a photo\n", "exactly one"),
        ("{} and {}", "exactly one"),
        ("a {0}", "exactly one"),
        ("{} {x}", "exactly one"),
        ("a photo of [name], [filewords]", r"\[name\] in A1111 is \{\} here, and \[filewords\] is \[caption\]"),
    ],
)
def test_a_file_of_templates_that_cannot_be_filled_is_refused(tmp_path, text, complaint):
    (tmp_path / "own.txt").write_text(text)
    with pytest.raises(UserError, match=complaint):
        read_templates(tmp_path / "own.txt")


def test_a_missing_file_of_templates_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*own\.txt"):
        read_templates(tmp_path / "own.txt")
