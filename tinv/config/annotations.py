"""Checks YAML values against type annotations that are parsed, not evaluated. Accepts a value in case of doubt."""

import ast
from collections.abc import Mapping
from typing import Any

from tinv.config.source_reader import Module, lineage, meaning_of, resolve

_PLAIN: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "complex": (int, float),
    "bool": (bool,),
    "str": (str,),
    "Path": (str,),
    "PathLike": (str,),
    "list": (list,),
    "List": (list,),
    "tuple": (list,),
    "Tuple": (list,),
    "set": (list,),
    "frozenset": (list,),
    "Sequence": (list,),
    "Iterable": (list,),
    "Collection": (list,),
    "dict": (dict,),
    "Dict": (dict,),
    "Mapping": (dict,),
}
_WORDS = {
    "str": "text",
    "bool": "true or false",
    "Path": "a path",
    "dict": "a mapping",
    "list": "a list",
    "Any": "anything",
}
_ITEMS = {"list", "List", "set", "frozenset", "Sequence", "Iterable", "Collection"}


def fits(value: Any, annotation: ast.expr, module: Module, depth: int = 0) -> bool:
    """Whether a value has the annotated type.

    Args:
        value: a plain YAML value. A dict with a `_target_` has every type.
        annotation: the parsed annotation.
        module: the module that defines its names.
        depth: the number of names that were resolved already.
    """
    if depth > 20 or (isinstance(value, dict) and "_target_" in value):
        return True
    if isinstance(annotation, ast.Constant):
        if annotation.value is None:
            return value is None
        if isinstance(annotation.value, str):
            return fits(value, ast.parse(annotation.value, mode="eval").body, module, depth + 1)
        return True
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return any(fits(value, side, module, depth + 1) for side in (annotation.left, annotation.right))
    if isinstance(annotation, ast.Subscript):
        return _fits_subscript(value, annotation, module, depth)
    name = _last_name(annotation)
    if name in _PLAIN:
        return isinstance(value, _PLAIN[name]) and not (isinstance(value, bool) and name != "bool")
    if isinstance(annotation, ast.Name):
        if meaning := meaning_of(name, module):
            return fits(value, *meaning, depth + 1)
        if (definition := resolve(annotation, module)) and isinstance(definition[0], ast.ClassDef):
            return not _is_scalar(value) or _is_stringlike(definition[0], definition[1])
    return True


def describe_annotation(annotation: ast.expr, module: Module) -> str:
    """Returns the type in words: `int`, `float or null`, `crop or squash`, `a list of text`."""
    return " or ".join(dict.fromkeys(_alternatives(annotation, module)))


def _alternatives(annotation: ast.expr, module: Module, depth: int = 0) -> list[str]:
    if isinstance(annotation, ast.Constant):
        if isinstance(annotation.value, str):
            return _alternatives(ast.parse(annotation.value, mode="eval").body, module, depth + 1)
        return ["null" if annotation.value is None else str(annotation.value)]
    if isinstance(annotation, ast.BinOp):
        return _either([annotation.left, annotation.right], module, depth)
    if isinstance(annotation, ast.Subscript):
        outer = _last_name(annotation.value)
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        if outer == "Optional":
            return [*_alternatives(inner[0], module, depth + 1), "null"]
        if outer == "Union":
            return _either(inner, module, depth)
        if outer == "Literal":
            return [str(choice.value) for choice in inner if isinstance(choice, ast.Constant)]
        if outer in _ITEMS:
            return [f"a list of {' or '.join(_alternatives(inner[0], module, depth + 1))}"]
        if outer in ("tuple", "Tuple"):
            return [f"a list of {len(inner)}"]
        return _alternatives(annotation.value, module, depth + 1)
    name = _last_name(annotation)
    if depth <= 20 and (meaning := meaning_of(name, module)):
        return _alternatives(*meaning, depth + 1)
    return [_WORDS.get(name, name)]


def _either(sides: list[ast.expr], module: Module, depth: int) -> list[str]:
    """Returns the alternatives that YAML can express, or the classes if there are no others."""
    words = [word for side in sides for word in _alternatives(side, module, depth + 1)]
    return [word for word in words if word in _WORDS.values() or not word[:1].isupper()] or words


def _fits_subscript(value: Any, annotation: ast.Subscript, module: Module, depth: int) -> bool:
    outer = _last_name(annotation.value)
    inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    if outer == "Optional":
        return value is None or fits(value, inner[0], module, depth + 1)
    if outer == "Union":
        return any(fits(value, side, module, depth + 1) for side in inner)
    if outer == "Annotated":
        return fits(value, inner[0], module, depth + 1)
    if outer == "Literal":
        choices = [c.value for c in inner if isinstance(c, ast.Constant)]
        return len(choices) < len(inner) or any(value == c and type(value) is type(c) for c in choices)
    if outer in _ITEMS and isinstance(value, list):
        return all(fits(item, inner[0], module, depth + 1) for item in value)
    if outer in ("tuple", "Tuple") and isinstance(value, list):
        if isinstance(inner[-1], ast.Constant) and inner[-1].value is Ellipsis:
            return all(fits(item, inner[0], module, depth + 1) for item in value)
        return len(value) == len(inner) and all(fits(v, a, module, depth + 1) for v, a in zip(value, inner))
    return fits(value, annotation.value, module, depth + 1) if outer in _PLAIN else True


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float | bool | None)


def _is_stringlike(cls: ast.ClassDef, module: Module) -> bool:
    bases = {_last_name(b) for c, _ in lineage(cls, module) for b in c.bases}
    return bool(bases & {"str", "int", "Enum", "StrEnum", "IntEnum", "Protocol", "TypedDict"})


def _last_name(expression: ast.expr) -> str:
    return ast.unparse(expression).partition("[")[0].rpartition(".")[2]
