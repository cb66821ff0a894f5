"""Short names for swept settings and their values."""

from collections.abc import Iterable, Mapping


def shorten_keys(keys: Iterable[str]) -> dict[str, str]:
    """Maps each key to its shortest ending that no other key has: `lr`, or `optimizer.lr` beside `scheduler.lr`."""
    parts = {key: key.split(".") for key in keys}
    names = {}
    for key, own in parts.items():
        lengths = range(1, len(own) + 1)
        names[key] = next(".".join(own[-n:]) for n in lengths if [p[-n:] for p in parts.values()].count(own[-n:]) == 1)
    return names


def format_swept(swept: Mapping[str, str]) -> str:
    """Returns the swept settings and values as `num_vectors=2 lr=0.001`."""
    names = shorten_keys(swept)
    return " ".join(f"{names[key]}={format_value(value)}" for key, value in swept.items())


def format_value(value: str) -> str:
    """Returns a value with at most four significant digits if it is a number."""
    try:
        return min(value, f"{float(value):.4g}", key=len)
    except ValueError:
        return value
