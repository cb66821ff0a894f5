"""Checking settings finds everything; building from them calls only what it may."""

from copy import deepcopy

import pytest
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ReadonlyConfigError

from tests.composing import groups
from tinv.concept import Concept
from tinv.config.problems import did_you_mean
from tinv.config.validate import ConfigError, build, check, find_problems
from tinv.errors import UserError


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    return groups().compose(["+experiment=cat_toy", "paths.output_dir=here"])


@pytest.fixture
def tree(composed: DictConfig) -> DictConfig:
    return deepcopy(composed)


def problems(tree: DictConfig, *dotted: tuple[str, object]) -> list[str]:
    OmegaConf.set_struct(tree, False)
    for key, value in dotted:
        OmegaConf.update(tree, key, value, force_add=True)
    return [problem.text for problem in find_problems(tree)]


def test_checked_settings_are_resolved_and_read_only_and_the_composed_ones_untouched(tree):
    before = OmegaConf.to_yaml(tree)
    checked = check(tree)
    assert checked.module.concept.placeholder_token == "<cat-toy>"
    with pytest.raises(ReadonlyConfigError):
        checked.seed = 3
    assert OmegaConf.to_yaml(tree) == before
    assert check(checked) == checked


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("foo", 1, "foo: there is no such group or setting"),
        ("optimiser", {"lr": 1}, "optimiser: there is no such group or setting (did you mean optimizer?)"),
        ("optimizer.lrr", 1, "optimizer.lrr: AdamW takes no such argument (did you mean lr?)"),
        ("trainer.max_step", 1, "trainer.max_step: Trainer takes no such argument (did you mean max_steps?)"),
        ("paths.output", "x", "paths.output: Paths takes no such argument (did you mean outputs?)"),
        ("embedding.num_vectors", "abc", "embedding.num_vectors: must be int, got 'abc'"),
        ("trainer.max_steps", 1000.0, "trainer.max_steps: must be int, got 1000.0; write 1000"),
        ("seed", "x", "seed: must be int, got 'x'"),
        ("tags", "x", "tags: must be a list of text, got 'x'"),
        ("concept.kind", "thing", "concept.kind: must be object or style, got 'thing'"),
        ("data.flip", "no", "data.flip: must be true or false, got 'no'"),
        ("callbacks.sample", {"steps": 1}, "callbacks.sample: has no _target_ (did you mean samples?)"),
        ("callbacks.samples", None, "callbacks.samples: has no _target_; write ~callbacks.samples to remove it"),
        ("data.folder", "???", "data.folder: required, but not set: holds the pictures"),
        ("name", "a/b", "name: becomes a folder, so it takes letters, digits and . _ = - only, got 'a/b'; write a_b"),
        ("name", "..", "name: becomes a folder"),
        (
            "optimizer._target_",
            "os.system",
            "optimizer._target_: os.system is none of the things that settings may call",
        ),
        ("optimizer._target_", "torch.optim.AdamV", "cannot find torch.optim.AdamV (torch.optim has no AdamV)"),
        (
            "optimizer._target_",
            "tinv.config.validate.OmegaConf",
            "tinv.config.validate.OmegaConf belongs to omegaconf; name it there",
        ),
        ("optimizer.lr", "${nowhere.lr}", "optimizer.lr: Interpolation key 'nowhere.lr' not found"),
        ("callbacks.samples.prompts", ["a", 3], "callbacks.samples.prompts: must be a list of text, got ['a', 3]"),
    ],
)
def test_each_mistake_is_named_with_its_remedy(tree, key, value, said):
    found = problems(tree, (key, value))
    assert any(said in text for text in found), found
    assert len(found) == 1


def test_all_mistakes_are_named_at_once(tree):
    found = problems(tree, ("foo", 1), ("optimizer.lrr", 1), ("data.folder", "???"), ("seed", "x"))
    assert len(found) == 4
    with pytest.raises(ConfigError) as caught:
        check(tree)
    assert caught.value.problems == tuple(found)
    assert isinstance(caught.value, UserError)


def test_a_group_that_was_taken_out_is_missed(tree):
    OmegaConf.set_struct(tree, False)
    del tree["logger"]
    assert problems(tree) == ["logger: cannot be left out; write logger=none"]


def test_a_setting_that_takes_its_value_from_a_missing_one_is_not_reported_twice(tree):
    found = problems(tree, ("trainer.max_steps", "???"), ("seed", "${trainer.max_steps}"))
    assert [text.partition(":")[0] for text in found] == ["trainer.max_steps"]


def test_packages_of_ones_own_are_trusted_by_the_environment_only(tree, tmp_path, monkeypatch):
    (tmp_path / "my_parts.py").write_text("class Watch:\n    def __init__(self, every: int = 1): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    node = ("callbacks.watch", {"_target_": "my_parts.Watch", "every": 2})
    assert "put it into the environment variable TINV_TARGETS" in problems(tree, node)[0]
    monkeypatch.setenv("TINV_TARGETS", "other, my_parts")
    assert problems(tree) == []
    assert type(build(tree.callbacks.watch)).__name__ == "Watch"


def test_building_gives_the_object():
    node = OmegaConf.create(
        {"_target_": "tinv.concept.Concept", "placeholder_token": "<x>", "initializer_token": "toy"}
    )
    assert build(node) == Concept(placeholder_token="<x>", initializer_token="toy")
    assert build(node, kind="style").kind == "style"


def test_late_arguments_reach_the_target_as_they_are(tmp_path, monkeypatch):
    (tmp_path / "parts_that_take.py").write_text("def take(thing, more=None):\n    return thing, more\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TINV_TARGETS", "parts_that_take")
    thing, more = Concept(placeholder_token="<x>"), [{"a": 1}, object()]
    taken = build({"_target_": "parts_that_take.take"}, thing=thing, more=more)
    assert taken[0] is thing
    assert taken[1] is more
    partial = build({"_target_": "parts_that_take.take", "_partial_": True, "more": [1]})
    assert partial(thing) == (thing, [1])
    assert type(partial(thing)[1]) is list


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "os.getcwd"},
        {"_target_": "tinv.concept.Concept", "placeholder_token": {"_target_": "os.getcwd"}},
        {"_target_": "tinv.concept.Concept", "placeholder_token": [{"_target_": "subprocess.run"}]},
        {"_target_": "tinv.runs.files.os.getcwd"},
        {"_target_": "tinvader.x"},
    ],
)
def test_building_refuses_anything_that_settings_may_not_call(node):
    with pytest.raises(ConfigError):
        build(node)


def test_what_a_nested_target_has_to_say_comes_out_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "parts_that_wrap.py").write_text("def wrap(inner):\n    return inner\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TINV_TARGETS", "parts_that_wrap")
    bad = {"_target_": "tinv.concept.Concept", "placeholder_token": "Two Words"}
    for node in (bad, {"_target_": "parts_that_wrap.wrap", "inner": bad}):
        with pytest.raises(UserError, match=r"concept\.placeholder_token must be a single word"):
            build(node)


def test_the_nearest_word_is_proposed_or_all_of_a_few_or_nothing():
    assert did_you_mean("num_vector", ["num_vectors", "init"]) == " (did you mean num_vectors?)"
    assert did_you_mean("zzz", ["b", "a"]) == " (there are a, b)"
    assert did_you_mean("zzz", []) == ""
    assert did_you_mean("zzz", map(str, range(100))) == ""
