"""What a dotted target takes, read from its source without importing it.

Importing torch and Lightning to look at a parameter list costs seconds; a misspelt setting should be answered at once.
So this reads files: it finds the top package, walks to the module, follows `from x import y`, inherited `__init__`s and
dataclass fields, and stops there. What cannot be decided by reading is taken to be right.
"""

import ast
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Parameter:
    """One argument that a target takes."""

    name: str
    required: bool
    about: str = ""
    """First sentence of the docstring under a dataclass field."""
    annotation: ast.expr | None = field(default=None, compare=False)
    module: "Module | None" = field(default=None, compare=False)
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


@dataclass(frozen=True)
class Module:
    """A source file and where it stands."""

    name: str
    path: Path

    @property
    def package(self) -> str:
        """What a relative import starts from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


@cache
def signature(target: str) -> Signature:
    """The signature of a class, a function or a class's method.

    Args:
        target: dotted name, as in `_target_`.

    Raises:
        LookupError: there is no such thing, or it cannot be found by reading.
    """
    found, module, owner = _find(target)
    if isinstance(found, ast.ClassDef):
        parameters, open_ended = _of_class(found, module)
    else:
        parameters, open_ended = _of_function(found, module, bound=owner is not None and not _is_static(found))
    return Signature(target, {p.name: p for p in parameters}, open_ended, module.name.partition(".")[0])


def accepts(parameter: Parameter, value: Any) -> bool:
    """Whether a plain YAML value fits the parameter's annotation. In doubt, it does."""
    if parameter.annotation is None or parameter.module is None:
        return True
    return _fits(value, parameter.annotation, parameter.module)


def describe(parameter: Parameter) -> str:
    """The annotation as a person would write it: `int`, `float or null`, `crop or squash`."""
    return _words(parameter.annotation) if parameter.annotation is not None else "anything"


# --- walking ----------------------------------------------------------------------------------------------------------


def _find(target: str, depth: int = 0) -> tuple[_Definition, Module, ast.ClassDef | None]:
    """The definition that a dotted name leads to, its module, and the class it is a method of."""
    parts = target.split(".")
    module = _top(parts[0])
    rest = parts[1:]
    while rest and (below := _below(module, rest[0])):
        module, rest = below, rest[1:]
    if not rest:
        raise LookupError(f"{target} is a module, not something that can be called")
    found = _in_module(rest[0], module, depth)
    if found is None:
        raise LookupError(f"{module.name} has no {rest[0]}")
    definition, module = found
    if len(rest) == 1:
        return definition, module, None
    if len(rest) == 2 and isinstance(definition, ast.ClassDef):
        for cls, where in _lineage(definition, module):
            for node in cls.body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == rest[1]:
                    return node, where, cls
    raise LookupError(f"{'.'.join(parts[:-1])} has no {rest[-1]}")


@cache
def _top(package: str) -> Module:
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise LookupError(f"the package {package} is not installed")
    return Module(package, Path(spec.origin))


@cache
def _below(module: Module, name: str) -> Module | None:
    if module.path.name != "__init__.py":
        return None
    for path in (module.path.parent / name / "__init__.py", module.path.parent / f"{name}.py"):
        if path.is_file():
            return Module(f"{module.name}.{name}", path)
    return None


def _module(dotted: str) -> Module | None:
    head, *rest = dotted.split(".")
    try:
        module: Module | None = _top(head)
    except LookupError:
        return None
    for name in rest:
        module = module and _below(module, name)
    return module


@cache
def _statements(module: Module) -> tuple[ast.stmt, ...]:
    """The module's statements, those inside `if` and `try` included."""
    return tuple(_flat(ast.parse(module.path.read_text(encoding="utf-8")).body))


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.If):
            yield from _flat(node.body + node.orelse)
        elif isinstance(node, ast.Try):
            yield from _flat(node.body + [s for h in node.handlers for s in h.body] + node.orelse + node.finalbody)
        else:
            yield node


def _in_module(name: str, module: Module, depth: int = 0) -> tuple[_Definition, Module] | None:
    """The class or function that a module calls by this name, wherever it is written."""
    if depth > 20:
        return None
    for node in _statements(module):
        if isinstance(node, _Definition) and node.name == name:
            return node, module
    for node in _statements(module):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name or alias.name == "*":
                    source = _module(_absolute(node, module))
                    wanted = name if alias.name == "*" else alias.name
                    if source and (found := _in_module(wanted, source, depth + 1)):
                        return found
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and _assigns(node, name):
            return _in_module(node.value.id, module, depth + 1)
    return None


def _assigns(node: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)


def _absolute(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    base = module.package.split(".")
    base = base[: len(base) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def _resolve(expression: ast.expr, module: Module) -> tuple[_Definition, Module] | None:
    """The definition behind a base class or an annotation: a plain name, or a dotted one."""
    if isinstance(expression, ast.Subscript):  # Generic[T]
        return _resolve(expression.value, module)
    if isinstance(expression, ast.Name):
        return _in_module(expression.id, module)
    if isinstance(expression, ast.Attribute) and isinstance(expression.value, ast.Name):
        for node in _statements(module):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == expression.value.id:
                        prefix = f"{_absolute(node, module)}." if isinstance(node, ast.ImportFrom) else ""
                        source = _module(prefix + alias.name)
                        return _in_module(expression.attr, source) if source else None
    return None


def _lineage(cls: ast.ClassDef, module: Module, depth: int = 0) -> Iterator[tuple[ast.ClassDef, Module]]:
    """The class and its bases, nearest first (depth first: near enough to Python's order for constructors)."""
    yield cls, module
    for base in cls.bases if depth < 20 else ():
        found = _resolve(base, module)
        if found and isinstance(found[0], ast.ClassDef):
            yield from _lineage(found[0], found[1], depth + 1)


# --- parameters -------------------------------------------------------------------------------------------------------


def _of_class(cls: ast.ClassDef, module: Module) -> tuple[list[Parameter], bool]:
    for at, where in _lineage(cls, module):
        if _is_dataclass(at):
            fields: dict[str, Parameter] = {}
            for ancestor, home in reversed(list(_lineage(at, where))):
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
        yield Parameter(node.target.id, required, _first_sentence(after), node.annotation, module)


def _first_sentence(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return re.split(r"\.(?=\s[A-Z])", " ".join(node.value.value.split()))[0].rstrip(".")
    return ""


def _of_function(node: _Definition, module: Module, *, bound: bool) -> tuple[list[Parameter], bool]:
    assert not isinstance(node, ast.ClassDef)
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    optional = {a.arg for a in positional[len(positional) - len(arguments.defaults) :]}
    optional |= {a.arg for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults) if default is not None}
    named = [*arguments.args, *arguments.kwonlyargs]
    if bound:
        named = [a for a in named if a is not positional[0]]
    parameters = [Parameter(a.arg, a.arg not in optional, "", a.annotation, module) for a in named]
    return parameters, arguments.kwarg is not None


def _is_static(node: _Definition) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)


# --- annotations ------------------------------------------------------------------------------------------------------

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
_ITEMS = {"list", "List", "set", "frozenset", "Sequence", "Iterable", "Collection"}


def _fits(value: Any, annotation: ast.expr, module: Module, depth: int = 0) -> bool:
    if depth > 20 or (isinstance(value, dict) and "_target_" in value):
        return True
    if isinstance(annotation, ast.Constant):
        if annotation.value is None:
            return value is None
        if isinstance(annotation.value, str):
            return _fits(value, ast.parse(annotation.value, mode="eval").body, module, depth + 1)
        return True
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return any(_fits(value, side, module, depth + 1) for side in (annotation.left, annotation.right))
    if isinstance(annotation, ast.Subscript):
        return _fits_subscript(value, annotation, module, depth)
    name = _last_name(annotation)
    if name in _PLAIN:
        return isinstance(value, _PLAIN[name]) and not (isinstance(value, bool) and name != "bool")
    if isinstance(annotation, ast.Name):
        if alias := _alias(name, module):
            return _fits(value, *alias, depth + 1)
        if (found := _resolve(annotation, module)) and isinstance(found[0], ast.ClassDef):
            return not _is_scalar(value) or _is_stringlike(found[0], found[1])
    return True


def _fits_subscript(value: Any, annotation: ast.Subscript, module: Module, depth: int) -> bool:
    outer = _last_name(annotation.value)
    inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    if outer == "Optional":
        return value is None or _fits(value, inner[0], module, depth + 1)
    if outer == "Union":
        return any(_fits(value, side, module, depth + 1) for side in inner)
    if outer == "Annotated":
        return _fits(value, inner[0], module, depth + 1)
    if outer == "Literal":
        choices = [c.value for c in inner if isinstance(c, ast.Constant)]
        return len(choices) < len(inner) or any(value == c and type(value) is type(c) for c in choices)
    if outer in _ITEMS and isinstance(value, list):
        return all(_fits(item, inner[0], module, depth + 1) for item in value)
    if outer in ("tuple", "Tuple") and isinstance(value, list):
        if isinstance(inner[-1], ast.Constant) and inner[-1].value is Ellipsis:
            return all(_fits(item, inner[0], module, depth + 1) for item in value)
        return len(value) == len(inner) and all(_fits(v, a, module, depth + 1) for v, a in zip(value, inner))
    return _fits(value, annotation.value, module, depth + 1) if outer in _PLAIN else True


def _alias(name: str, module: Module, depth: int = 0) -> tuple[ast.expr, Module] | None:
    """What `Name = Union[...]` stands for, followed through imports."""
    for node in _statements(module) if depth < 20 else ():
        if isinstance(node, ast.Assign) and _assigns(node, name):
            return node.value, module
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            return (node.value, module) if node.value else None
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name and (source := _module(_absolute(node, module))):
                    return _alias(alias.name, source, depth + 1)
    return None


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float | bool | None)


def _is_stringlike(cls: ast.ClassDef, module: Module) -> bool:
    bases = {_last_name(b) for c, _ in _lineage(cls, module) for b in c.bases}
    return bool(bases & {"str", "int", "Enum", "StrEnum", "IntEnum", "Protocol", "TypedDict"})


def _last_name(expression: ast.expr) -> str:
    return ast.unparse(expression).partition("[")[0].rpartition(".")[2]


def _words(annotation: ast.expr) -> str:
    if isinstance(annotation, ast.Constant):
        return "null" if annotation.value is None else str(annotation.value)
    if isinstance(annotation, ast.BinOp):
        return f"{_words(annotation.left)} or {_words(annotation.right)}"
    if isinstance(annotation, ast.Subscript):
        outer = _last_name(annotation.value)
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        if outer == "Optional":
            return f"{_words(inner[0])} or null"
        if outer in ("Union", "Literal"):
            return " or ".join(_words(i) for i in inner)
    name = ast.unparse(annotation)
    return {"str": "text", "bool": "true or false", "Path": "a path"}.get(name, name)
