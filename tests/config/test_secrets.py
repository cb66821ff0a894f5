"""A secret in the settings is refused: it would be written to .hydra/, run.json, W&B and logs."""

import html
import json
import os
import shlex
from urllib.parse import quote

import pytest

from tests.composing import groups
from tinv.cli import main as cli
from tinv.config.compose import Groups
from tinv.config.override_errors import explain, find_problems
from tinv.config.secrets import find_reason, find_secrets, hide, is_secret, is_secret_name
from tinv.config.validate import ConfigError
from tinv.runs.files import write_text

TOKEN = "hf_" + "AbCdEf0123456789" * 2 + "xy"


RANDOM = TOKEN[3:]
"""34 letters and digits."""


@pytest.mark.parametrize(
    "text",
    [
        *(TOKEN, f"https://user:{TOKEN}@huggingface.co/x", f"hf_oauth_{RANDOM}.eyJ.abc", f"https://{RANDOM}@a.b/c"),
        *(f"sk-{RANDOM}", f"sk-proj-{RANDOM}", f"sk-ant-api03-{RANDOM}_-{RANDOM}", f"sk-{RANDOM.lower()}"),
        *(f"ghp_{RANDOM}aa", f"github_pat_{RANDOM}", f"glpat-{RANDOM}", f"xoxb-1-{RANDOM}", f"AIza{RANDOM}a"),
        *(
            f"AKIA{RANDOM[:16].upper()}",
            f"wandb_v1_{RANDOM}",
            f"http://a:{RANDOM}@proxy:80",
            f"https://a/?token={RANDOM}",
        ),
        f"-----BEGIN RSA PRIVATE KEY-----\n{RANDOM}\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_tokens_are_recognized_by_their_form(text):
    assert is_secret(text)
    for part in (RANDOM, RANDOM.lower(), RANDOM[:16].upper()):
        assert part not in hide(text)
    assert hide(hide(text)) == hide(text)


@pytest.mark.parametrize(
    "text",
    [
        *("hf_cats", "hf://datasets/a/b", "my_hf_token", "hf_dataset_of_forty_black_cats_2024", "task-aware-training"),
        *("sk-my-cat-toy-on-the-beach-2024", "https://a.b/c?page=2&token=1", "hf://datasets/a/b@main/c", "a:b@c"),
        *("s3://bucket/a@b", "pkg://tinv/toybox/pipeline", "AKIAS", "a photo of a <cat-toy>, 20261130", "ghp_"),
    ],
)
def test_similar_words_are_not_tokens(text):
    assert not is_secret(text)
    assert hide(text) == text


def test_tokens_are_recognized_from_the_environment(monkeypatch):
    assert not is_secret("corporate-gateway-key")
    monkeypatch.setenv("HF_TOKEN", "corporate-gateway-key")
    assert is_secret("a corporate-gateway-key b")
    assert hide("a corporate-gateway-key b") == "a *** b"


@pytest.mark.parametrize(
    "name",
    "OPENAI_API_KEY HF_TOKEN AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID PGPASSWORD MY_CREDENTIALS GH_PAT KEY2".split(),
)
def test_variables_are_guarded_by_their_name(name, monkeypatch):
    assert is_secret_name(name)
    monkeypatch.setenv(name, "Tr0ub4dor&3")
    assert name in find_reason("a Tr0ub4dor&3, b") and hide("a Tr0ub4dor&3, b") == "a ***, b"
    assert hide("a Tr0ub4dor&33") == "a Tr0ub4dor&33", "a short value is guarded as a word"
    assert is_secret(f"${{oc.env:{name}}}")


@pytest.mark.parametrize("name", "MONKEY KEYBOARD PLACEHOLDER_TOKEN INITIALIZER_TOKEN SSH_PUBLIC_KEY TOKENIZER".split())
def test_other_variables_are_not_guarded(name, monkeypatch):
    monkeypatch.setenv(name, "Tr0ub4dor&3")
    assert not is_secret("a Tr0ub4dor&3") and not is_secret(f"${{oc.env:{name}}}")


@pytest.mark.parametrize(
    "value", ["", "1", "true", "cat", "training", "<cat-toy>", "20261130", "val/loss", "/etc/passwd"]
)
def test_ordinary_values_of_guarded_variables_mask_nothing(value, monkeypatch):
    monkeypatch.setenv("MY_SECRET_KEY", value)
    text = f"a true cat in training: 1, <cat-toy>, 20261130 val/loss /etc/passwd {value}"
    assert hide(text) == text and not find_problems(groups(), ["+experiment=cat_toy", "tags=[training]"])


@pytest.mark.parametrize("notation", [json.dumps, repr, shlex.quote, html.escape, quote], ids=lambda f: f.__name__)
def test_a_value_is_hidden_in_every_notation(notation, monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", value := "p'a\"s\\s/wörd&<42>")
    assert "rd&" not in hide(text := f"a {notation(value)} b") and "42" not in hide(text)


def test_the_environment_is_read_once_for_all_settings(monkeypatch):
    """Reading 200 variables for each of 1500 settings took a second."""

    class Environment(dict):
        reads = 0

        def items(self):
            self.reads += 1
            return super().items()

    monkeypatch.setattr("os.environ", environment := Environment(os.environ, MY_TOKEN="corporate-gateway-key"))
    tree = {f"key{i}": ["a", {"b": "a corporate-gateway-key" if i == 7 else "c"}] for i in range(50)}
    (message,) = find_secrets(tree)
    assert message.startswith("key7[1].b: contains an access token") and "MY_TOKEN" in message
    assert environment.reads <= 3  # once more for each name in a message


def test_every_line_of_a_key_is_hidden(monkeypatch):
    monkeypatch.setenv("SSH_KEY", f"-----BEGIN KEY-----\n{RANDOM}\n{RANDOM[::-1]}\n-----END KEY-----")
    assert hide(f"a {RANDOM[::-1]}") == "a ***"


def test_written_text_has_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "corporate-gateway-key")
    write_text(tmp_path / "a", f"a corporate-gateway-key {TOKEN}")
    assert (tmp_path / "a").read_text() == "a *** ***"


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


@pytest.mark.parametrize("multirun", [False, True])
@pytest.mark.parametrize(
    "override",
    [
        "hydra.job.env_copy=[MY_TOKEN]",
        "+hydra.job.env_set.MY_TOKEN=short",
        "+hydra.job.env_set.X=${oc.env:MY_TOKEN}",
        "hydra/launcher=slurm hydra.launcher.setup=['export WANDB_API_KEY=corporate-gateway-key']",
        "hydra.verbose=${oc.env:MY_TOKEN}",
        "name='${oc.env:${tags[0]}}' tags=[MY_TOKEN]",
        "name='${oc.decode:${oc.env:MINE}}'",
    ],
)
def test_a_secret_in_hydras_own_settings_or_behind_an_interpolation_is_refused(override, multirun, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "corporate-gateway-key")
    monkeypatch.setenv("MINE", "corporate-gateway-key")
    problems = find_problems(groups(), ["+experiment=cat_toy", *override.split(" ", 1)], multirun=multirun)
    assert problems and all("access token" in str(problem) for problem in problems), problems
    assert "gateway" not in str(problems) and "short" not in str(problems)


def test_a_secret_in_the_config_dir_is_refused(run_main, monkeypatch, tmp_path):
    monkeypatch.setenv("MY_TOKEN", "corporate-gateway-key")
    output = run_main("+experiment=cat_toy", "--config-dir", str(tmp_path / "corporate-gateway-key"))
    assert output.code == 1 and output.err.startswith("--config-dir: contains an access token")
    assert "MY_TOKEN" in output.err and "gateway" not in output.out + output.err


@pytest.mark.parametrize("option", ["--cfg=job", "--cfg=hydra", "--help"])
def test_hydras_answers_hide_secrets(run_main, monkeypatch, option):
    monkeypatch.setenv("MINE", TOKEN)
    monkeypatch.setenv("NAME", "MINE")
    output = run_main(
        "+experiment=cat_toy", "name='${oc.env:${oc.env:NAME}}'", option, *["--resolve"] * ("job" in option)
    )
    assert "Textual inversion" in output.out or "name: " in output.out
    assert RANDOM not in output.out + output.err
    assert "access token" in run_main("+experiment=cat_toy", f"name={TOKEN}", option).err


def test_tinv_refuses_a_secret_argument_and_hides_it(capsys, monkeypatch):
    assert cli(["generate", "--embedding=x", f"a cat {TOKEN}"]) == 1
    with pytest.raises(SystemExit):
        cli(["generate", f"--what={TOKEN}"])
    output = capsys.readouterr()
    assert "an argument: contains an access token" in output.err and RANDOM not in output.out + output.err
