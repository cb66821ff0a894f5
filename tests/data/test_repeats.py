import pytest

from tinv.data.concept_images import count_repeats
from tinv.errors import UserError

NAMES = ["front.jpg", "front 2.jpg", "side.jpg", "10_mugs/front.jpg", "10_mugs/2_worn/a.jpg"]


def count(tmp_path, repeats):
    counts = count_repeats([tmp_path / name for name in NAMES], repeats, root=tmp_path)
    return {path.relative_to(tmp_path).as_posix(): times for path, times in counts.items()}


def test_a_number_is_for_all_and_folders_of_kohya_multiply(tmp_path):
    assert count(tmp_path, 1) == dict(zip(NAMES, [1, 1, 1, 10, 20], strict=True))
    assert count(tmp_path, 3) == dict(zip(NAMES, [3, 3, 3, 30, 60], strict=True))


def test_names_patterns_and_folders_choose_and_the_last_that_fits_counts(tmp_path):
    assert list(count(tmp_path, {"front*": 2, "side.jpg": 5}).values()) == [2, 2, 5, 20, 20]
    assert list(count(tmp_path, {"*": 2, "front.jpg": 3}).values()) == [3, 2, 2, 30, 40]
    assert list(count(tmp_path, {"10_mugs/*": 3}).values()) == [1, 1, 1, 30, 60]


def test_nothing_leaves_a_picture_out(tmp_path):
    assert list(count(tmp_path, {"front*": 0})) == ["side.jpg", "10_mugs/2_worn/a.jpg"]


@pytest.mark.parametrize(
    ("repeats", "message"),
    [
        (0, "data.repeats must be 1 or more, got 0"),
        ({"side.jpg": -1}, "side.jpg must be 0 .* or more, got -1"),
        ({"sid.jpg": 2}, "no picture is called sid.jpg; there are, for example, front.jpg"),
        ({"*": 0}, "leaves out every picture"),
    ],
)
def test_counts_that_mean_nothing_are_refused(tmp_path, repeats, message):
    with pytest.raises(UserError, match=message):
        count(tmp_path, repeats)
