"""An override has the intended value after a shell and Hydra have parsed it."""

import random
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from tinv.from_diffusers.overrides import assign, format_command

AWKWARD = [
    *("<cat-toy>", "a b", "a=b", "[x]", "{y}", "a,b", "null", "true", "12", "1e-3", "inf", "", " a ", "é", "${x}"),
    *("$HOME", "it's", 'say "hi"', "C:\\new\\", 'a\\"b', "\\", "~x", "#1", "a:b", "hf://datasets/a/b@main", "*", "\t"),
]


def parsed_value(text: str) -> object:
    (override,) = OverridesParser.create().parse_overrides([text])
    assert not override.is_sweep_override()
    return OmegaConf.to_container(OmegaConf.create({"key": override.value()}), resolve=True)["key"]


@pytest.mark.parametrize("value", AWKWARD)
def test_hydra_reads_a_quoted_string_unchanged(value):
    assert parsed_value(assign("key", value)) == value
    assert parsed_value(assign("key", [value, 1])) == [value, 1]


def test_random_strings_survive_a_shell_and_hydra():
    rng = random.Random(0)
    for _ in range(300):
        value = "".join(rng.choices("ab1 ='\"\\[]{}(),:$<>~#%&*!|;-.é", k=rng.randint(1, 8)))
        words = shlex.split(format_command("python train.py", [assign("key", value)]).replace("\\\n", ""))
        assert words[:2] == ["python", "train.py"]
        assert parsed_value(words[2]) == value


@pytest.mark.parametrize("value", [None, True, False, 3, -1, 1e-8, 5e-4, 0.0, [0.9, 0.999], [0, 1], []])
def test_other_values_keep_their_type(value):
    parsed = parsed_value(assign("key", value))
    assert parsed == value
    assert type(parsed) is type(value)


def test_plain_strings_are_not_quoted():
    assert assign("data.folder", "./my_mug") == "data.folder=./my_mug"
    assert assign("concept.placeholder_token", "<cat-toy>") == 'concept.placeholder_token="<cat-toy>"'
