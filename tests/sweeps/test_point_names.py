"""Short names of swept settings."""

from tinv.sweeps.point_names import format_swept, shorten_keys


def test_a_key_is_shortened_to_its_shortest_unique_ending():
    keys = ["embedding.num_vectors", "optimizer.lr", "scheduler.lr", "seed", "loss"]
    assert list(shorten_keys(keys).values()) == ["num_vectors", "optimizer.lr", "scheduler.lr", "seed", "loss"]
    assert len(set(shorten_keys(keys).values())) == len(keys)


def test_a_label_has_the_swept_settings():
    assert format_swept({"embedding.num_vectors": "2", "optimizer.lr": "0.001"}) == "num_vectors=2 lr=0.001"
    assert format_swept({"optimizer.lr": "0.0012345678901234567", "model": "sd15"}) == "lr=0.001235 model=sd15"
