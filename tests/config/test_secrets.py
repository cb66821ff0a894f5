"""A token in the settings is refused: it would be written to .hydra/, run.json, W&B and logs."""

import pytest

from tests.composing import groups
from tinv.config.compose import Groups
from tinv.config.override_errors import explain, find_problems
from tinv.config.secrets import hide, is_secret
from tinv.config.validate import ConfigError

TOKEN = "hf_" + "AbCdEf0123456789" * 2 + "xy"


@pytest.mark.parametrize("text", [TOKEN, f"https://user:{TOKEN}@huggingface.co/x", f"hf_oauth_{TOKEN[3:]}.eyJ.abc"])
def test_tokens_are_recognized_by_their_form(text):
    assert is_secret(text)
    assert TOKEN[3:] not in hide(text)


@pytest.mark.parametrize("text", ["hf_cats", "hf://datasets/a/b", "my_hf_token", "hf_dataset_of_forty_black_cats_2024"])
def test_similar_words_are_not_tokens(text):
    assert not is_secret(text)
    assert hide(text) == text


def test_tokens_are_recognized_from_the_environment(monkeypatch):
    assert not is_secret("corporate-gateway-key")
    monkeypatch.setenv("HF_TOKEN", "corporate-gateway-key")
    assert is_secret("a corporate-gateway-key b")
    assert hide("a corporate-gateway-key b") == "a *** b"


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
@pytest.mark.parametrize("find", [find_problems, explain])
def test_a_token_on_the_command_line_is_refused_and_not_repeated(override, find):
    (problem,) = find(groups(), ["+experiment=cat_toy", override])
    assert "hf auth login" in problem.text and "HF_TOKEN" in problem.text
    assert TOKEN[3:] not in problem.text and "short" not in problem.text


def test_a_token_in_a_file_is_refused(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = f"# @package _global_\nname: x\ntags: [cat, {TOKEN}]\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    (problem,) = find_problems(Groups(str(tmp_path)), ["+experiment=cat_toy", "+experiment@_global_=mine"])
    assert problem.text.startswith("tags[1]: ")
    assert TOKEN not in problem.text


def test_a_token_from_an_interpolation_is_refused(compose, monkeypatch):
    monkeypatch.setenv("MINE", TOKEN)
    with pytest.raises(ConfigError, match="name: contains an access token") as error:
        compose("+experiment=cat_toy", "name=${oc.env:MINE}")
    assert TOKEN not in str(error.value)


def test_train_py_refuses_a_token(run_main):
    output = run_main("+experiment=cat_toy", f"hub.token={TOKEN}")
    assert output.code == 1
    assert "hub.token: contains an access token" in output.err
    assert TOKEN not in output.out + output.err


def test_a_placeholder_token_is_not_a_secret():
    assert not find_problems(groups(), ["+experiment=cat_toy", "concept.placeholder_token=sks"])
