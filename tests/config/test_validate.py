"""`check` finds all problems; `build` calls allowed targets only."""

from copy import deepcopy

import pytest
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ReadonlyConfigError

from tests.composing import groups
from tinv.concept import Concept
from tinv.config.validate import ConfigError, build, check, find_problems
from tinv.errors import UserError, did_you_mean


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


def test_check_returns_a_resolved_read_only_copy(tree):
    before = OmegaConf.to_yaml(tree)
    checked = check(tree)
    assert checked.module.concept.placeholder_token == "<cat-toy>"
    with pytest.raises(ReadonlyConfigError):
        checked.seed = 3
    assert OmegaConf.to_yaml(tree) == before
    assert check(checked) == checked


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("foo", 1, "foo: there is no such group or setting"),
        ("optimiser", {"lr": 1}, "optimiser: there is no such group or setting (did you mean optimizer?)"),
        ("optimizer.lrr", 1, "optimizer.lrr: AdamW takes no such argument (did you mean lr?)"),
        ("trainer.max_step", 1, "trainer.max_step: Trainer takes no such argument (did you mean max_steps?)"),
        ("paths.output", "x", "paths.output: Paths takes no such argument (did you mean output_dir?)"),
        ("embedding.num_vectors", "abc", "embedding.num_vectors='abc': must be int"),
        ("trainer.max_steps", 1000.0, "trainer.max_steps=1000.0: must be int; write 1000"),
        ("seed", "x", "seed='x': must be int"),
        ("tags", "x", "tags='x': must be a list of text"),
        ("concept.kind", "thing", "concept.kind='thing': must be object or style"),
        ("data.flip", "no", "data.flip='no': must be true or false"),
        ("callbacks.sample", {"steps": 1}, "callbacks.sample: has no _target_ (did you mean samples?)"),
        ("callbacks.samples", None, "callbacks.samples: has no _target_; write ~callbacks.samples to remove it"),
        ("early_stopping", {"patience": 3}, "early_stopping: has no _target_"),
        ("data.folder", "???", "data.folder: required, but not set: "),
        ("name", "a/b", "name=a/b: must be a folder name of letters, digits and . _ = - only; write a_b"),
        ("name", "..", "name=..: must be a folder name"),
        ("name", "${oc.decode:\"'../x'\"}", "name=../x: must be a folder name"),
        (
            "optimizer._target_",
            "os.system",
            "optimizer._target_: os.system is not on the list of what settings may call as optimizer",
        ),
        ("optimizer._target_", "torch.optim.AdamV", "as optimizer (did you mean torch.optim.Adam?)"),
        ("data._partial_", True, "data._partial_: only optimizer and scheduler take it; remove it"),
        ("optimizer._args_", [1], "optimizer._args_: AdamW takes no such argument"),
        (
            "optimizer._target_",
            "tinv.config.validate.OmegaConf",
            "tinv.config.validate.OmegaConf is not on the list of what settings may call as optimizer",
        ),
        ("optimizer.lr", "${nowhere.lr}", "optimizer.lr: Interpolation key 'nowhere.lr' not found"),
        ("callbacks.samples.prompts", ["a", 3], "callbacks.samples.prompts=['a', 3]: must be a list of text"),
    ],
)
def test_each_problem_is_reported_with_its_remedy(tree, key, value, problem):
    (reported,) = problems(tree, (key, value))
    assert problem in reported


def test_all_problems_are_reported_at_once(tree):
    reported = problems(tree, ("foo", 1), ("optimizer.lrr", 1), ("data.folder", "???"), ("seed", "x"))
    assert len(reported) == 4
    with pytest.raises(ConfigError) as error:
        check(tree)
    assert error.value.problems == tuple(reported)
    assert isinstance(error.value, UserError)


def test_a_removed_group_is_reported(tree):
    OmegaConf.set_struct(tree, False)
    del tree["logger"]
    assert problems(tree) == ["logger: cannot be left out; write logger=none"]


def test_an_interpolation_of_a_missing_value_is_not_reported(tree):
    reported = problems(tree, ("trainer.max_steps", "???"), ("seed", "${trainer.max_steps}"))
    assert [text.partition(":")[0] for text in reported] == ["trainer.max_steps"]


def test_only_the_environment_allows_further_packages(tree, tmp_path, monkeypatch):
    text = "import lightning.pytorch as pl\nclass Watch(pl.Callback):\n    def __init__(self, every: int = 1): ...\n"
    (tmp_path / "my_parts.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    node = ("callbacks.watch", {"_target_": "my_parts.Watch", "every": 2})
    assert "add it to the environment variable TINV_TARGETS" in problems(tree, node)[0]
    monkeypatch.setenv("TINV_TARGETS", "other, my_parts")
    assert problems(tree) == []
    assert type(build(tree.callbacks.watch)).__name__ == "Watch"


def test_build_returns_the_object():
    node = OmegaConf.create(
        {"_target_": "tinv.concept.Concept", "placeholder_token": "<x>", "initializer_token": "toy"}
    )
    assert build(node) == Concept(placeholder_token="<x>", initializer_token="toy")
    assert build(node, kind="style").kind == "style"


def test_late_arguments_are_passed_unchanged(tmp_path, monkeypatch):
    (tmp_path / "parts_to_call.py").write_text("def pair(thing, more=None):\n    return thing, more\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TINV_TARGETS", "parts_to_call")
    thing, more = Concept(placeholder_token="<x>"), [{"a": 1}, object()]
    result = build({"_target_": "parts_to_call.pair"}, thing=thing, more=more)
    assert result[0] is thing
    assert result[1] is more
    partial = build({"_target_": "parts_to_call.pair", "_partial_": True, "more": [1]})
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
def test_build_refuses_targets_outside_the_allowlist(node):
    with pytest.raises(ConfigError):
        build(node)


def test_the_error_of_a_nested_target_is_raised_unchanged(tmp_path, monkeypatch):
    (tmp_path / "parts_that_wrap.py").write_text("def wrap(inner):\n    return inner\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TINV_TARGETS", "parts_that_wrap")
    bad = {"_target_": "tinv.concept.Concept", "placeholder_token": "Two Words"}
    for node in (bad, {"_target_": "parts_that_wrap.wrap", "inner": bad}):
        with pytest.raises(UserError, match=r"concept\.placeholder_token"):
            build(node)


def test_a_hint_is_the_closest_candidate_or_all_of_a_few():
    assert did_you_mean("num_vector", ["num_vectors", "init"]) == " (did you mean num_vectors?)"
    assert did_you_mean("zzz", ["b", "a"]) == " (there are a, b)"
    assert did_you_mean("zzz", []) == ""
    assert did_you_mean("zzz", map(str, range(100))) == ""
