"""A token in the settings would be in .hydra/, in run.json, on W&B and in the terminal's log: it is refused."""

import pytest

from tests.composing import groups
from tinv.config import secrets as secret
from tinv.config.compose import Groups
from tinv.config.override_errors import explain, find_problems
from tinv.config.validate import ConfigError

TOKEN = "hf_" + "AbCdEf0123456789" * 2 + "xy"


@pytest.mark.parametrize("text", [TOKEN, f"https://user:{TOKEN}@huggingface.co/x", f"hf_oauth_{TOKEN[3:]}.eyJ.abc"])
def test_tokens_are_known_by_their_form_and_hidden_whole(text):
    assert secret.is_secret(text)
    assert TOKEN[3:] not in secret.hide(text)


@pytest.mark.parametrize("text", ["hf_cats", "hf://datasets/a/b", "my_hf_token", "hf_dataset_of_forty_black_cats_2024"])
def test_words_that_only_look_like_it_are_left_alone(text):
    assert not secret.is_secret(text)
    assert secret.hide(text) == text


def test_a_token_of_another_form_is_known_from_the_environment(monkeypatch):
    assert not secret.is_secret("corporate-gateway-key")
    monkeypatch.setenv("HF_TOKEN", "corporate-gateway-key")
    assert secret.is_secret("a corporate-gateway-key b")
    assert secret.hide("a corporate-gateway-key b") == "a *** b"


@pytest.mark.parametrize(
    "override",
    [
        f"name={TOKEN}",
        f"hub.token={TOKEN}",
        "hub.token=short",
        "+model.hf_token=short",
        "+logger.wandb.api_key=short",
        f"tags=[a,{TOKEN}]",
        f"+{TOKEN}=1",
        f"trainer.max_steps={TOKEN}",
        "name=${oc.env:HF_TOKEN}",
    ],
)
@pytest.mark.parametrize("look", [find_problems, explain])
def test_it_is_refused_on_the_command_line_and_not_repeated(override, look):
    (problem,) = look(groups(), ["+experiment=cat_toy", override])
    assert "hf auth login" in problem.text and "HF_TOKEN" in problem.text
    assert TOKEN[3:] not in problem.text and "short" not in problem.text


def test_it_is_refused_in_a_file_of_the_users(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = f"# @package _global_\nname: x\ntags: [cat, {TOKEN}]\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    (problem,) = find_problems(Groups(str(tmp_path)), ["+experiment=cat_toy", "+experiment@_global_=mine"])
    assert problem.text.startswith("tags[1]: ")
    assert TOKEN not in problem.text


def test_it_is_refused_when_it_comes_in_through_an_interpolation(compose, monkeypatch):
    monkeypatch.setenv("MINE", TOKEN)
    with pytest.raises(ConfigError, match="name: holds a token") as caught:
        compose("+experiment=cat_toy", "name=${oc.env:MINE}")
    assert TOKEN not in str(caught.value)


def test_the_door_does_not_let_it_in(door):
    said = door("+experiment=cat_toy", f"hub.token={TOKEN}")
    assert said.code == 1
    assert "hub.token: holds a token" in said.err
    assert TOKEN not in said.out + said.err
