"""Finds definitions in source files without importing them.

Finds the top-level package of a dotted name and the module in it; follows `from x import y`, aliases and base classes.
"""

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_MAX_DEPTH = 20  # ends circular imports
_WITHOUT_SOURCE = frozenset(("ABC", "Exception", "Generic", "Protocol", "dict", "list", "object", "str"))


@dataclass(frozen=True)
class Module:
    """A module and its source file."""

    name: str
    path: Path

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


def find(target: str) -> tuple[Definition, Module, ast.ClassDef | None]:
    """Returns the definition of a dotted name, its module, and for a method its class.

    Raises:
        LookupError: there is none, or its source cannot be found.
    """
    parts = target.split(".")
    module = _top(parts[0])
    names = parts[1:]
    while names and (submodule := _submodule(module, names[0])):
        module, names = submodule, names[1:]
    if not names:
        raise LookupError(f"{target} is a module and cannot be called")
    match = in_module(names[0], module)
    if match is None:
        raise LookupError(f"{module.name} has no {names[0]}")
    definition, module = match
    if len(names) == 1:
        return definition, module, None
    if len(names) == 2 and isinstance(definition, ast.ClassDef):
        for cls, where in lineage(definition, module):
            for node in cls.body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == names[1]:
                    return node, where, cls
    raise LookupError(f"{'.'.join(parts[:-1])} has no {names[-1]}")


@cache
def _top(package: str) -> Module:
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise LookupError(f"the package {package} is not installed")
    return Module(package, Path(spec.origin))


@cache
def _submodule(module: Module, name: str) -> Module | None:
    if module.path.name != "__init__.py":
        return None
    for path in (module.path.parent / name / "__init__.py", module.path.parent / f"{name}.py"):
        if path.is_file():
            return Module(f"{module.name}.{name}", path)
    return None


def module_of(dotted: str) -> Module | None:
    """Returns a module by its dotted name, or None if it has no source file."""
    top, *names = dotted.split(".")
    try:
        module: Module | None = _top(top)
    except LookupError:
        return None
    for name in names:
        module = module and _submodule(module, name)
    return module


@cache
def statements(module: Module) -> tuple[ast.stmt, ...]:
    """Returns the statements of a module, including those inside `if` and `try`."""
    return tuple(_flat(ast.parse(module.path.read_text(encoding="utf-8")).body))


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.If):
            yield from _flat(node.body + node.orelse)
        elif isinstance(node, ast.Try):
            yield from _flat(node.body + [s for h in node.handlers for s in h.body] + node.orelse + node.finalbody)
        else:
            yield node


def in_module(name: str, module: Module, depth: int = 0) -> tuple[Definition, Module] | None:
    """Returns the class or function that has this name in a module, wherever it is defined."""
    if depth > _MAX_DEPTH:
        return None
    for node in statements(module):
        if isinstance(node, Definition) and node.name == name:
            return node, module
    for node in statements(module):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name or alias.name == "*":
                    source = module_of(_absolute(node, module))
                    original = name if alias.name == "*" else alias.name
                    if source and (match := in_module(original, source, depth + 1)):
                        return match
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and _assigns(node, name):
            return in_module(node.value.id, module, depth + 1)
    return None


def _assigns(node: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)


def _absolute(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    base = module.package.split(".")
    base = base[: len(base) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def resolve(expression: ast.expr, module: Module) -> tuple[Definition, Module] | None:
    """Returns the definition of a base class or an annotation: a plain or a dotted name."""
    if isinstance(expression, ast.Subscript):  # Generic[T]
        return resolve(expression.value, module)
    if isinstance(expression, ast.Name):
        return in_module(expression.id, module)
    if isinstance(expression, ast.Attribute):
        first, *others = ast.unparse(expression.value).split(".")
        for node in statements(module):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    prefix = f"{_absolute(node, module)}." if isinstance(node, ast.ImportFrom) else ""
                    bound = alias.asname or alias.name.partition(".")[0]
                    if bound == first:
                        origin = prefix + (alias.name if alias.asname else bound)
                        source = module_of(".".join([origin, *others]))
                        return in_module(expression.attr, source) if source else None
    return None


def lineage(cls: ast.ClassDef, module: Module, depth: int = 0) -> Iterator[tuple[ast.ClassDef, Module]]:
    """Yields the class and its bases, depth first: close enough to Python's order for constructors."""
    yield cls, module
    for base in cls.bases if depth < _MAX_DEPTH else ():
        definition = resolve(base, module)
        if definition and isinstance(definition[0], ast.ClassDef):
            yield from lineage(definition[0], definition[1], depth + 1)


def base_names(target: str) -> set[str] | None:
    """Returns the names of a class and of all its bases; None for a function, or if a base cannot be found."""
    definition, module, _ = find(target)
    if not isinstance(definition, ast.ClassDef):
        return None
    names = {definition.name}
    for cls, home in lineage(definition, module):
        for base in cls.bases:
            match = resolve(base, home)
            name = match[0].name if match else ast.unparse(base).partition("[")[0].rpartition(".")[2]
            if match is None and name not in _WITHOUT_SOURCE:
                return None
            names.add(name)
    return names


def meaning_of(name: str, module: Module, depth: int = 0) -> tuple[ast.expr, Module] | None:
    """Returns the value of `Name = Union[...]`, through imports."""
    for node in statements(module) if depth < _MAX_DEPTH else ():
        if isinstance(node, ast.Assign) and _assigns(node, name):
            return node.value, module
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            return (node.value, module) if node.value else None
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name and (source := module_of(_absolute(node, module))):
                    return meaning_of(alias.name, source, depth + 1)
    return None
