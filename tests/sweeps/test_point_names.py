"""Readable names: short, and never the same for two settings."""

from tinv.sweeps.point_names import format_swept, shorten_keys


def test_a_name_is_as_short_as_can_be_told_apart():
    keys = ["embedding.num_vectors", "optimizer.lr", "scheduler.lr", "seed", "loss"]
    assert list(shorten_keys(keys).values()) == ["num_vectors", "optimizer.lr", "scheduler.lr", "seed", "loss"]
    assert len(set(shorten_keys(keys).values())) == len(keys)


def test_a_point_is_called_by_what_was_swept():
    assert format_swept({"embedding.num_vectors": "2", "optimizer.lr": "0.001"}) == "num_vectors=2 lr=0.001"
    assert format_swept({"optimizer.lr": "0.0012345678901234567", "model": "sd15"}) == "lr=0.001235 model=sd15"
