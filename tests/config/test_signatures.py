"""A parsed signature equals the imported one."""

import importlib
import inspect
import subprocess
import sys
from functools import reduce
from pathlib import Path

import pytest
import yaml

from tinv.config.signatures import accepts, describe, signature
from tinv.config.validate import CONF_DIR

TARGETS = sorted(
    {
        node["_target_"]
        for path in CONF_DIR.rglob("*.yaml")
        for top in [yaml.safe_load(path.read_text(encoding="utf-8")) or {}]
        for node in [top, *(v for v in top.values() if isinstance(v, dict))]
        if "_target_" in node and path.relative_to(CONF_DIR).parts[0] != "hydra"  # called by Hydra
    }
)


def imported(target: str) -> inspect.Signature:
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        return inspect.signature(reduce(getattr, parts[cut:], module))
    raise AssertionError(target)


@pytest.mark.parametrize("target", TARGETS)
def test_a_parsed_signature_equals_the_imported_one(target):
    read, real = signature(target), imported(target).parameters
    named = {name: p for name, p in real.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    assert list(read.parameters) == list(named)
    assert {n for n, p in read.parameters.items() if p.required} == {
        n for n, p in named.items() if p.default is p.empty
    }
    assert read.open_ended == any(p.kind is p.VAR_KEYWORD for p in real.values())


def test_the_defaults_of_every_target_have_the_annotated_type():
    for target in TARGETS:
        parameters = signature(target).parameters
        for name, real in imported(target).parameters.items():
            if name in parameters and isinstance(real.default, str | int | float | bool | None):
                assert accepts(parameters[name], real.default), f"{target}: {name}={real.default!r}"


def test_parsing_imports_no_heavy_library():
    code = f"from tinv.config.signatures import signature\nfor t in {TARGETS!r}: signature(t)\nimport sys\n"
    code += "assert not {'torch', 'lightning', 'diffusers', 'transformers', 'wandb'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=CONF_DIR.parent)


SOURCE = '''
from __future__ import annotations
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Optional, Sequence, Union
from .other import Base, Size as Big

class Thing: ...

@dataclass(frozen=True)
class Parent:
    a: int
    """How many. More is slower."""
    shared: ClassVar[int] = 3
    b: list[str] = field(default_factory=list)
    hidden: int = field(init=False, default=1)

@dataclass
class Child(Parent):
    a: float = 0.5
    c: Optional[Literal["x", "y"]] = None

class Plain(Base):
    """Inherits its constructor."""

def function(n: int, /, path: Path, size: Big, *rest: int, when: "int | None" = None, thing: Thing = None, **more): ...

class Maker:
    @classmethod
    def load(cls, name: str, pair: tuple[int, float] = (1, 2.0)) -> Maker:
        """Make one.

        Args:
            name: what to load; anything goes. Second sentence.
            pair: two numbers
                over two lines.

        Raises:
            ValueError: never.
        """
    @staticmethod
    def bare(x: Sequence[float]): ...
    def method(self, y: bool): ...
'''
OTHER = """
from typing import Literal, Union
Size = Union[int, Literal["big"]]
class Root:
    def __init__(self, z: float, *, w: str = "w"): ...
class Base(Root): ...
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    home = tmp_path / "tinv_sample"
    (home / "inner").mkdir(parents=True)
    (home / "__init__.py").write_text("from tinv_sample.inner import *\n")
    (home / "inner" / "__init__.py").write_text(SOURCE)
    (home / "inner" / "other.py").write_text(OTHER)
    monkeypatch.syspath_prepend(tmp_path)
    return "tinv_sample"


def test_dataclass_fields_are_inherited(package):
    read = signature(f"{package}.Child").parameters
    assert list(read) == ["a", "b", "c"]
    assert not any(p.required for p in read.values())
    assert signature(f"{package}.Parent").parameters["a"].required


def test_constructors_are_inherited_and_methods_are_bound(package):
    assert list(signature(f"{package}.Plain").parameters) == ["z", "w"]
    assert list(signature(f"{package}.Maker.load").parameters) == ["name", "pair"]
    assert list(signature(f"{package}.Maker.bare").parameters) == ["x"]
    assert list(signature(f"{package}.Maker.method").parameters) == ["y"]


def test_a_parameter_has_the_first_sentence_of_its_documentation(package):
    assert signature(f"{package}.Parent").parameters["a"].about == "How many"
    read = signature(f"{package}.Maker.load").parameters
    assert (read["name"].about, read["pair"].about) == ("what to load", "two numbers over two lines")


@pytest.mark.parametrize(
    "target", ["nowhere_at_all.X", "{}.Nothing", "{}.Maker.nothing", "{}.inner", "{}.inner.other.Size.x"]
)
def test_a_missing_target_is_a_lookup_error(package, target):
    with pytest.raises(LookupError):
        signature(target.format(package))


@pytest.mark.parametrize(
    ("target", "name", "good", "bad", "words"),
    [
        ("function", "size", (3, "big"), ("small", 1.5, None), "int or big"),
        ("function", "path", ("a/b",), (3, None), "a path"),
        ("function", "when", (None, 4), ("x", True), "int or null"),
        ("function", "thing", (None, {"_target_": "x"}), ("x", 3), "Thing"),
        ("Child", "a", (1, 0.5), ("x", None, True), "float"),
        ("Child", "b", ([], ["x"]), ("x", [1], None), "a list of text"),
        ("Child", "c", ("x", None), ("z", 0), "x or y or null"),
        ("Maker.load", "pair", ([1, 2], [1, 0.5]), ([1], [0.5, 1], 3), "a list of 2"),
        ("Maker.bare", "x", ([1.0],), (1.0, "x"), "a list of float"),
        ("Maker.method", "y", (True,), (1, "true"), "true or false"),
    ],
)
def test_values_are_checked_against_annotations(package, target, name, good, bad, words):
    parameter = signature(f"{package}.{target}").parameters[name]
    assert [accepts(parameter, value) for value in good] == [True] * len(good)
    assert [accepts(parameter, value) for value in bad] == [False] * len(bad)
    assert describe(parameter) == words
