"""Turns the content of a JSON file into the dataclass that describes it, or says which value has another type.

A library such as msgspec would do this too, but its import adds 18 ms to every start of `tinv status` and `train.py`.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_type(cls: type[T], value: Any) -> T:
    """Returns a JSON value as a type: a dataclass, `list[X]`, `dict[str, X]`, `X | Y`, or a plain type.

    Ignores keys that the dataclass does not have. A whole number is accepted as a float.

    Raises:
        ValueError: names the value with another type, the missing one, or a number that is not finite.
    """
    result: T = _convert(cls, value, "")
    return result


def _convert(kind: Any, value: Any, name: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if isinstance(kind, UnionType):
        own = next((argument for argument in arguments if argument is type(value)), arguments[0])
        return _convert(own, value, name)
    if origin is list and isinstance(value, list):
        return [_convert(arguments[0], item, f"{name}[{i}]") for i, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {str(key): _convert(arguments[1], item, f"{name}.{key}") for key, item in value.items()}
    if is_dataclass(kind) and isinstance(value, dict):
        return _convert_object(kind, value, f"{name}." if name else "")
    if kind is float and type(value) is int and abs(value) < 2**1023:
        return float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        text = repr(value)
        raise ValueError(f"{name or 'the content'} is {text if len(text) < 60 else f'{text[:56]} ...'}")
    return value


def _convert_object(cls: Any, content: Mapping[str, Any], prefix: str) -> Any:
    hints, values = get_type_hints(cls), {}
    for field in fields(cls):
        if field.name in content:
            values[field.name] = _convert(hints[field.name], content[field.name], prefix + field.name)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{prefix}{field.name} is missing")
    return cls(**values)
