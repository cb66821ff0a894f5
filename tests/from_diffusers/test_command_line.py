"""Parsing of commands, however they are command."""

import pytest

from tinv.errors import UserError
from tinv.from_diffusers import parse_command, read_command

REQUIRED = [
    "--pretrained_model_name_or_path=a/model",
    "--train_data_dir=pics",
    "--placeholder_token=<cat-toy>",
    "--initializer_token=toy",
]
README = r"""
```bash
export MODEL_NAME="a/model"
export DATA_DIR="./cat"

accelerate launch textual_inversion.py \
  --pretrained_model_name_or_path=$MODEL_NAME \
  --train_data_dir=${DATA_DIR} \
  --placeholder_token="<cat-toy>" --initializer_token='toy' \
  --learning_rate=5.0e-04 \
  --scale_lr \
  --validation_prompt "A <cat-toy> backpack" 2>&1 | tee log
```
A full training run takes --about an hour.
"""


def test_a_command_on_a_web_page_gives_the_words_of_a_shell():
    assert read_command(README) == [
        "accelerate",
        "launch",
        "textual_inversion.py",
        "--pretrained_model_name_or_path=a/model",
        "--train_data_dir=./cat",
        "--placeholder_token=<cat-toy>",
        "--initializer_token=toy",
        "--learning_rate=5.0e-04",
        "--scale_lr",
        "--validation_prompt",
        "A <cat-toy> backpack",
    ]


@pytest.mark.parametrize("end", [" \\\n", "\\\n  ", " \\ \r\n", " ^\r\n", " `\n"])
def test_line_continuations_of_every_shell(end):
    words = ["python", "textual_inversion.py", *REQUIRED[:2]]
    assert read_command(end.join(["$ python textual_inversion.py", *REQUIRED[:2]])) == words


def test_flags_with_a_space_with_an_equals_sign_and_abbreviated():
    full = parse_command(
        ["textual_inversion.py", *REQUIRED, "--learning_rate=1e-3", "--validation_prompt=a b", "--seed=-1"]
    )
    abbreviated = parse_command(
        [
            *("python", "examples/textual_inversion.py", "--pretr", "a/model", "--train_d", "pics", "--init", "toy"),
            *("--placeh", "<cat-toy>", "--learning_r", "0.001", "--validation_p", "a b", "--seed", "-1", " "),
        ]
    )
    assert abbreviated == full
    assert full.values["learning_rate"] == 1e-3
    assert full.values["validation_prompt"] == "a b"
    assert full.typed >= {"learning_rate", "seed", "train_data_dir"}
    assert "max_train_steps" not in full.typed


def test_the_last_of_two_equal_flags_wins():
    assert parse_command(["textual_inversion.py", *REQUIRED, "--seed=1", "--seed=2"]).values["seed"] == 2


@pytest.mark.parametrize(
    ("front", "script", "is_guess"),
    [
        (["python", "textual_inversion.py"], "sd", False),
        (["accelerate", "launch", "../textual_inversion_sdxl.py"], "sdxl", False),
        (["python", "C:\\diffusers\\textual_inversion_flax.py"], "flax", False),
        (["my_copy.py"], "sd", True),
        ([], "sd", True),
    ],
)
def test_the_file_name_identifies_the_script(front, script, is_guess):
    command = parse_command([*front, *REQUIRED])
    assert (command.script, command.is_guess) == (script, is_guess)


@pytest.mark.parametrize(
    ("flags", "script"),
    [
        (["--use_8bit_adam"], "sdxl"),
        (["--use_auth_token"], "flax"),
        (["--num_vec_per_token=2"], "multi_token"),
        (["--pretrained_model_name_or_path=stabilityai/stable-diffusion-xl-base-1.0"], "sdxl"),
        (["--pretrained_model_name_or_path=an/XL-model", "--validation_epochs=2"], "sd"),
    ],
)
def test_without_a_file_name_flags_and_model_identify_the_script(flags, script):
    command = parse_command([*REQUIRED, *flags])
    assert (command.script, command.is_guess) == (script, True)


def test_flags_distinguish_the_two_scripts_with_the_same_name():
    assert parse_command(["textual_inversion.py", *REQUIRED, "--vector_shuffle"]).script == "multi_token"
    assert parse_command(["textual_inversion.py", *REQUIRED, "--use_8bit_adam"]).unknown == ("--use_8bit_adam",)


def test_environment_and_launcher_flags_are_separate():
    command = parse_command(
        [
            *("CUDA_VISIBLE_DEVICES=0,1", "accelerate", "launch", "--multi_gpu", "--num_processes", "2"),
            *("--mixed_precision=fp16", "textual_inversion.py", *REQUIRED),
        ]
    )
    assert command.environment == ("CUDA_VISIBLE_DEVICES=0,1",)
    assert command.launcher == {"multi_gpu": None, "num_processes": "2", "mixed_precision": "fp16"}


def test_unknown_flags_are_listed_without_their_values():
    command = parse_command(["textual_inversion.py", *REQUIRED, "--my_key=SECRET", "--other", "SECRET", "--other"])
    assert command.unknown == ("--my_key", "--other")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["textual_inversion.py", *REQUIRED[1:3]], "requires --pretrained_model_name_or_path, --initializer_token"),
        (["textual_inversion.py", *REQUIRED, "--seed=x"], "--seed: invalid int value: 'x'"),
        (["textual_inversion.py", *REQUIRED, "--lr=1"], "ambiguous option: --lr"),
        (["textual_inversion.py", *REQUIRED, "--lr_scheduler=cosin"], "invalid choice: 'cosin'"),
        (["textual_inversion.py", *REQUIRED, "--seed"], "--seed: expected one argument"),
        (["train_dreambooth_lora_sdxl_advanced.py", *REQUIRED], "also trains model weights"),
        ([], "requires --pretrained_model_name_or_path"),
    ],
)
def test_a_command_that_the_script_refuses_is_refused(words, message):
    with pytest.raises(UserError, match=r"^[^\n]*$") as error:
        parse_command(words)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no command"),
        ("just some words", "no command"),
        ("textual_inversion.py --train_data_dir=$DATA", "$DATA is not set"),
        ("textual_inversion.py --train_data_dir='a", "No closing quotation"),
    ],
)
def test_a_text_without_a_complete_command_is_refused(text, message):
    with pytest.raises(UserError) as error:
        read_command(text)
    assert message in str(error.value)
