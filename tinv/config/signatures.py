"""Signatures of `_target_`s, parsed from their source files.

Importing torch and Lightning takes seconds, and a misspelled setting should be reported at once. What the source does
not tell is assumed to be right.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tinv.config.annotations import describe_annotation, fits
from tinv.config.source_reader import Definition, Module, find, lineage


@dataclass(frozen=True)
class Parameter:
    """A parameter of a target."""

    name: str
    required: bool
    about: str = ""
    """The first sentence of its documentation."""
    nullable: bool = False
    """Whether its default is None, whatever the annotation says."""
    annotation: ast.expr | None = field(default=None, compare=False)
    module: Module | None = field(default=None, compare=False)
    """The module that defines the names in the annotation."""


@dataclass(frozen=True)
class Signature:
    """The parameters of a target."""

    target: str
    parameters: Mapping[str, Parameter]
    open_ended: bool
    """Whether it accepts `**kwargs`, so that every argument is valid."""
    package: str
    """The top-level package of the file that defines the target."""


@cache
def signature(target: str) -> Signature:
    """Returns the signature of a class, a function or a method.

    Args:
        target: a dotted name, as in `_target_`.

    Raises:
        LookupError: the target does not exist, or its source cannot be found.
    """
    definition, module, owner = find(target)
    if isinstance(definition, ast.ClassDef):
        parameters, open_ended = _of_class(definition, module)
    else:
        is_bound = owner is not None and not _is_static(definition)
        parameters, open_ended = _of_function(definition, module, bound=is_bound)
    return Signature(target, {p.name: p for p in parameters}, open_ended, module.name.partition(".")[0])


def accepts(parameter: Parameter, value: Any) -> bool:
    """Whether a plain YAML value has the type of a parameter; True in case of doubt."""
    if parameter.annotation is None or parameter.module is None or (value is None and parameter.nullable):
        return True
    return fits(value, parameter.annotation, parameter.module)


def describe(parameter: Parameter) -> str:
    """Returns the type of a parameter in words: `int`, `float or null`, `crop or squash`."""
    if parameter.annotation is None or parameter.module is None:
        return "anything"
    return describe_annotation(parameter.annotation, parameter.module)


def _of_class(cls: ast.ClassDef, module: Module) -> tuple[list[Parameter], bool]:
    for base, base_module in lineage(cls, module):
        if _is_dataclass(base):
            fields: dict[str, Parameter] = {}
            for ancestor, home in reversed(list(lineage(base, base_module))):
                if _is_dataclass(ancestor):
                    fields |= {p.name: p for p in _fields(ancestor, home)}
            return list(fields.values()), False
        for node in base.body:
            if isinstance(node, ast.FunctionDef) and node.name in ("__init__", "__new__"):
                return _of_function(node, base_module, bound=True)
    return [], False


def _is_dataclass(cls: ast.ClassDef) -> bool:
    decorators = [d.func if isinstance(d, ast.Call) else d for d in cls.decorator_list]
    return any(ast.unparse(d).rpartition(".")[2] == "dataclass" for d in decorators)


def _fields(cls: ast.ClassDef, module: Module) -> Iterator[Parameter]:
    for node, after in zip(cls.body, [*cls.body[1:], None]):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        options = node.value.keywords if isinstance(node.value, ast.Call) else []
        arguments = {k.arg: ast.unparse(k.value) for k in options}
        if "ClassVar" in ast.unparse(node.annotation) or arguments.get("init") == "False":
            continue
        is_field = isinstance(node.value, ast.Call) and ast.unparse(node.value.func).rpartition(".")[2] == "field"
        required = node.value is None or (is_field and not arguments.keys() & {"default", "default_factory"})
        nullable = isinstance(node.value, ast.Constant) and node.value.value is None
        yield Parameter(node.target.id, required, _docstring(after), nullable, node.annotation, module)


def _docstring(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return _first_sentence(node.value.value)
    return ""


def _first_sentence(text: str) -> str:
    return re.split(r"\.(?=\s[A-Z])|;", " ".join(text.split()))[0].rstrip(".")


def _of_function(node: Definition, module: Module, *, bound: bool) -> tuple[list[Parameter], bool]:
    assert not isinstance(node, ast.ClassDef)
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: dict[str, ast.expr] = {}
    if arguments.defaults:
        defaults |= {a.arg: d for a, d in zip(positional[-len(arguments.defaults) :], arguments.defaults)}
    defaults |= {a.arg: d for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults) if d is not None}
    about = _about_arguments(ast.get_docstring(node) or "")
    parameters = []
    for argument in [*arguments.args, *arguments.kwonlyargs]:
        if bound and argument is positional[0]:
            continue
        name, default = argument.arg, defaults.get(argument.arg)
        nullable = isinstance(default, ast.Constant) and default.value is None
        parameters.append(Parameter(name, default is None, about.get(name, ""), nullable, argument.annotation, module))
    return parameters, arguments.kwarg is not None


def _about_arguments(docstring: str) -> dict[str, str]:
    """Returns the first sentences of a Google style `Args:` section, by parameter."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, flags=re.MULTILINE | re.DOTALL)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1], flags=re.MULTILINE) if section else []
    return {name: _first_sentence(text) for name, text in entries}


def _is_static(node: Definition) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
