"""What a dotted target takes, read from its source without importing it.

Importing torch and Lightning to look at a parameter list costs seconds; a misspelt setting should be answered at once.
What cannot be decided by reading is taken to be right.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tinv.config.annotations import fits, in_words
from tinv.config.source_reader import Definition, Module, find, lineage


@dataclass(frozen=True)
class Parameter:
    """One argument that a target takes."""

    name: str
    required: bool
    about: str = ""
    """First sentence of what its docstring says of it."""
    nullable: bool = False
    """Its default is None, whatever the annotation says."""
    annotation: ast.expr | None = field(default=None, compare=False)
    module: Module | None = field(default=None, compare=False)
    """Where the names in the annotation have their meaning."""


@dataclass(frozen=True)
class Signature:
    """What a target takes."""

    target: str
    parameters: Mapping[str, Parameter]
    open_ended: bool
    """Whether it takes `**kwargs`, so that no argument can be called wrong."""
    package: str
    """The top package of the file that defines the target."""


@cache
def signature(target: str) -> Signature:
    """The signature of a class, a function or a class's method.

    Args:
        target: dotted name, as in `_target_`.

    Raises:
        LookupError: there is no such thing, or it cannot be found by reading.
    """
    found, module, owner = find(target)
    if isinstance(found, ast.ClassDef):
        parameters, open_ended = _of_class(found, module)
    else:
        parameters, open_ended = _of_function(found, module, bound=owner is not None and not _is_static(found))
    return Signature(target, {p.name: p for p in parameters}, open_ended, module.name.partition(".")[0])


def accepts(parameter: Parameter, value: Any) -> bool:
    """Whether a plain YAML value fits the parameter's annotation. In doubt, it does."""
    if parameter.annotation is None or parameter.module is None or (value is None and parameter.nullable):
        return True
    return fits(value, parameter.annotation, parameter.module)


def describe(parameter: Parameter) -> str:
    """What the parameter takes, as a person would write it: `int`, `float or null`, `crop or squash`."""
    if parameter.annotation is None or parameter.module is None:
        return "anything"
    return in_words(parameter.annotation, parameter.module)


def _of_class(cls: ast.ClassDef, module: Module) -> tuple[list[Parameter], bool]:
    for at, where in lineage(cls, module):
        if _is_dataclass(at):
            fields: dict[str, Parameter] = {}
            for ancestor, home in reversed(list(lineage(at, where))):
                if _is_dataclass(ancestor):
                    fields |= {p.name: p for p in _fields(ancestor, home)}
            return list(fields.values()), False
        for node in at.body:
            if isinstance(node, ast.FunctionDef) and node.name in ("__init__", "__new__"):
                return _of_function(node, where, bound=True)
    return [], False


def _is_dataclass(cls: ast.ClassDef) -> bool:
    named = [d.func if isinstance(d, ast.Call) else d for d in cls.decorator_list]
    return any(ast.unparse(d).rpartition(".")[2] == "dataclass" for d in named)


def _fields(cls: ast.ClassDef, module: Module) -> Iterator[Parameter]:
    for node, after in zip(cls.body, [*cls.body[1:], None]):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        options = node.value.keywords if isinstance(node.value, ast.Call) else []
        given = {k.arg: ast.unparse(k.value) for k in options}
        if "ClassVar" in ast.unparse(node.annotation) or given.get("init") == "False":
            continue
        is_field = isinstance(node.value, ast.Call) and ast.unparse(node.value.func).rpartition(".")[2] == "field"
        required = node.value is None or (is_field and not given.keys() & {"default", "default_factory"})
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
    """The first sentences of a Google style `Args:` section."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, flags=re.MULTILINE | re.DOTALL)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1], flags=re.MULTILINE) if section else []
    return {name: _first_sentence(text) for name, text in entries}


def _is_static(node: Definition) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
