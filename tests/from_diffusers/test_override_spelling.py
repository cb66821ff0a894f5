"""What is typed is what is meant, through a shell and through Hydra."""

import random
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from tinv.from_diffusers.overrides import assign, command

AWKWARD = [
    *(
        "<cat-toy>",
        "a b",
        "a=b",
        "[x]",
        "{y}",
        "a,b",
        "null",
        "true",
        "12",
        "1e-3",
        "inf",
        "",
        " a ",
        "é",
        "ü b",
        "${x}",
    ),
    *(
        "$HOME",
        "it's",
        'say "hi"',
        "C:\\new\\",
        'a\\"b',
        "\\",
        "~x",
        "#1",
        "a:b",
        "hf://datasets/a/b@main",
        "%s",
        "*",
        "\t",
    ),
]


def random_texts(count: int) -> list[str]:
    """Texts of the characters that mean something to a shell, to Hydra or to YAML."""
    chance = random.Random(0)
    return ["".join(chance.choices("ab1 ='\"\\[]{}(),:$<>~#%&*!|;-.é", k=chance.randint(1, 8))) for _ in range(count)]


def understood(text: str) -> dict[str, object]:
    """The value of `key`, as a run would have it."""
    (override,) = OverridesParser.create().parse_overrides([text])
    assert not override.is_sweep_override()
    return OmegaConf.to_container(OmegaConf.create({"key": override.value()}), resolve=True)


@pytest.mark.parametrize("value", AWKWARD)
def test_hydra_reads_back_what_was_meant(value):
    assert understood(assign("key", value)) == {"key": value}
    assert understood(assign("key", [value, 1])) == {"key": [value, 1]}


def test_random_texts_come_through_a_shell_and_hydra():
    for value in random_texts(300):
        words = shlex.split(command("python train.py", [assign("key", value)]).replace("\\\n", ""))
        assert words[:2] == ["python", "train.py"]
        assert understood(words[2]) == {"key": value}, value


@pytest.mark.parametrize("value", [None, True, False, 3, -1, 1e-8, 5e-4, 0.0, [0.9, 0.999], [0, 1], []])
def test_other_values_keep_their_kind(value):
    read = understood(assign("key", value))
    assert read == {"key": value}
    assert type(read["key"]) is type(value)


def test_plain_words_stay_plain():
    assert assign("data.folder", "./my_mug") == "data.folder=./my_mug"
    assert assign("concept.placeholder_token", "<cat-toy>") == 'concept.placeholder_token="<cat-toy>"'
