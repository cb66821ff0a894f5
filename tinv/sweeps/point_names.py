"""What is special about a point, in few words."""

from collections.abc import Iterable, Mapping


def shorten_keys(keys: Iterable[str]) -> dict[str, str]:
    """Each key's last part, with as many before it as tell it from the others: `lr`, or `optimizer.lr`."""
    keys = list(keys)

    def tail(key: str, length: int) -> str:
        return ".".join(key.split(".")[-length:])

    names = {}
    for key in keys:
        lengths = range(1, key.count(".") + 2)
        names[key] = next(tail(key, n) for n in lengths if [tail(k, n) for k in keys].count(tail(key, n)) == 1)
    return names


def format_swept(swept: Mapping[str, str]) -> str:
    """What was swept and to what: `num_vectors=2 lr=0.001`."""
    names = shorten_keys(swept)
    return " ".join(f"{names[key]}={format_value(value)}" for key, value in swept.items())


def format_value(value: str) -> str:
    """A value as it is shown: numbers that a search found have more digits than anybody reads."""
    try:
        return min(value, f"{float(value):.4g}", key=len)
    except ValueError:
        return value
