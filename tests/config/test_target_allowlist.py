"""Settings call what is on the list, in its place; further targets come from the environment or installed packages."""

from importlib import import_module
from importlib.util import find_spec

import pytest
import yaml
from omegaconf import OmegaConf

from tinv.config import target_allowlist
from tinv.config.source_reader import base_names
from tinv.config.target_allowlist import BASES, TARGETS, check_target, disallowed_targets, group_of
from tinv.config.validate import CONF_DIR
from tinv.sweeps import plugins

LISTED = [(group, target) for group, targets in TARGETS.items() for target in targets]


def shipped_targets() -> list[tuple[str, str]]:
    """The path and the target of each `_target_` in conf/."""
    targets = []

    def walk(node: object, path: str) -> None:
        if isinstance(node, dict):
            if "_target_" in node:
                targets.append((path, node["_target_"]))
            for key, value in node.items():
                walk(value, f"{path}.{key}" if path else str(key))

    for file in sorted(CONF_DIR.rglob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        package = ".".join(file.relative_to(CONF_DIR).parts[:-1])
        is_global = package in ("", "experiment", "recipe", "debug") or "# @package _global_" in text
        package = {"extra_concept": "extra_concepts.x"}.get(package, "" if is_global else package)
        walk(yaml.safe_load(text), package)
    return targets


@pytest.mark.parametrize(("path", "target"), shipped_targets())
def test_every_target_of_conf_is_listed(path, target):
    assert target in TARGETS[group_of(path)], (
        f'add it to TARGETS["{group_of(path)}"] in tinv/config/target_allowlist.py'
    )


@pytest.mark.parametrize(("group", "target"), LISTED)
def test_every_listed_target_exists_and_builds_what_its_place_needs(group, target):
    if target in plugins():
        cls = plugins()[target]
    elif find_spec(target.partition(".")[0]) is None:
        pytest.skip("not installed")
    else:
        module, _, name = target.rpartition(".")
        cls = getattr(import_module(module), name)
        assert not check_target(target, f"{group}.x" if group in ("callbacks", "logger") else group)
    if isinstance(cls, type) and group in BASES:
        assert BASES[group] in {base.__name__ for base in cls.__mro__}


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("optimizer", "optimizer"),
        ("callbacks.samples", "callbacks"),
        ("callbacks.samples.prompts[0]", "callbacks.samples"),
        ("extra_concepts.mug.data", "data"),
        ("module.optimizer", "optimizer"),
        ("trainer.strategy", "trainer.strategy"),
        ("hydra.callbacks.x", "hydra.callbacks"),
        ("hydra.launcher", "hydra.launcher"),
        ("hydra.launcher.options", "hydra.launcher.options"),
    ],
)
def test_the_place_of_a_target_decides_what_it_may_be(path, group):
    assert group_of(path) == group


def test_a_target_is_refused_in_the_place_of_another():
    assert "as optimizer" in check_target("tinv.training.callbacks.Export", "optimizer")
    assert check_target("tinv.training.callbacks.Export", "callbacks.x") == ""
    assert check_target("tinv.training.callbacks.Export", "callbacks.x.y")
    assert check_target("tinv.training.callbacks.Export") == "", "build() does not know the place"


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "own_parts.py").write_text(
        "import lightning.pytorch\nimport os\nfrom lightning.pytorch import callbacks as c\n"
        "class Watch(lightning.pytorch.Callback): ...\nclass Keeper(c.ModelCheckpoint): ...\n"
        "class Other: ...\nclass Unknown(elsewhere.Base): ...\ndef make(): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("is_single", [False, True])
@pytest.mark.parametrize("source", ["environment", "entry point"])
def test_the_environment_and_installed_packages_allow_targets(package, monkeypatch, source, is_single):
    if source == "environment":
        monkeypatch.setenv("TINV_TARGETS", "own_parts.Watch" if is_single else "other, own_parts")
    else:
        names = ("own_parts.Watch",) if is_single else ("own_parts",)
        monkeypatch.setattr(target_allowlist, "_installed_targets", lambda: names)
    assert check_target("own_parts.Watch", "callbacks.x") == ""
    assert bool(check_target("own_parts.Keeper", "callbacks.x")) == is_single
    assert check_target("own_parts_of_another.Watch", "callbacks.x")


def test_an_allowed_class_must_have_the_base_that_its_place_needs(package, monkeypatch):
    monkeypatch.setenv("TINV_TARGETS", "own_parts")
    assert check_target("own_parts.Other", "callbacks.x") == "own_parts.Other is not a Callback, which callbacks needs"
    for name in ("Watch", "Keeper", "Unknown", "make"):
        assert check_target(f"own_parts.{name}", "callbacks.x") == "", name
    assert check_target("own_parts.os.system", "callbacks.x")
    assert base_names("own_parts.Unknown") is None


def test_entry_points_are_read_from_installed_packages(tmp_path, monkeypatch):
    info = tmp_path / "own_parts-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-parts\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[tinv.targets]\nown = own_parts\nwatch = other_parts:Watch\n")
    monkeypatch.syspath_prepend(tmp_path)
    target_allowlist._installed_targets.cache_clear()
    assert {"own_parts", "other_parts.Watch"} <= set(target_allowlist._installed_targets())
    target_allowlist._installed_targets.cache_clear()


def test_targets_behind_interpolations_are_found():
    node = OmegaConf.create({"a": {"b": "${oc.create:${oc.decode:'{_target_: os.getcwd}'}}"}})
    assert [path for path, _ in disallowed_targets(node, "callbacks.x")] == ["callbacks.x.a.b"]
