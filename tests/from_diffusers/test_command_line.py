"""However a command is pasted, it is understood alike; what cannot be understood is said in a sentence."""

import pytest

from tinv.errors import UserError
from tinv.from_diffusers import read, understand

NEEDED = [
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


def test_a_command_on_a_web_page_gives_the_words_that_a_shell_would_see():
    assert read(README) == [
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
def test_lines_go_on_in_every_shell_s_manner(end):
    assert read(end.join(["$ python textual_inversion.py", *NEEDED[:2]])) == [
        "python",
        "textual_inversion.py",
        *NEEDED[:2],
    ]


def test_flags_may_be_written_with_a_space_with_an_equals_sign_and_short():
    whole = understand(
        ["textual_inversion.py", *NEEDED, "--learning_rate=1e-3", "--validation_prompt=a b", "--seed=-1"]
    )
    short = understand(
        [
            *("python", "examples/textual_inversion.py", "--pretr", "a/model", "--train_d", "pics", "--init", "toy"),
            *("--placeh", "<cat-toy>", "--learning_r", "0.001", "--validation_p", "a b", "--seed", "-1", " "),
        ]
    )
    assert short == whole
    assert whole.values["learning_rate"] == 1e-3
    assert whole.values["validation_prompt"] == "a b"
    assert whole.given >= {"learning_rate", "seed", "train_data_dir"}
    assert "max_train_steps" not in whole.given


def test_the_last_of_two_wins_as_in_the_script():
    assert understand(["textual_inversion.py", *NEEDED, "--seed=1", "--seed=2"]).values["seed"] == 2


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
def test_the_file_s_name_tells_the_script(front, script, is_guess):
    pasted = understand([*front, *NEEDED])
    assert (pasted.script, pasted.is_guess) == (script, is_guess)


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
def test_without_a_name_the_flags_and_the_model_tell(flags, script):
    pasted = understand([*NEEDED, *flags])
    assert (pasted.script, pasted.is_guess) == (script, True)


def test_the_two_scripts_of_one_name_are_told_apart_by_their_flags():
    assert understand(["textual_inversion.py", *NEEDED, "--vector_shuffle"]).script == "multi_token"
    assert understand(["textual_inversion.py", *NEEDED, "--use_8bit_adam"]).unknown == ("--use_8bit_adam",)


def test_what_stands_in_front_is_kept_apart():
    pasted = understand(
        [
            *("CUDA_VISIBLE_DEVICES=0,1", "accelerate", "launch", "--multi_gpu", "--num_processes", "2"),
            *("--mixed_precision=fp16", "textual_inversion.py", *NEEDED),
        ]
    )
    assert pasted.environment == ("CUDA_VISIBLE_DEVICES=0,1",)
    assert pasted.launcher == {"multi_gpu": None, "num_processes": "2", "mixed_precision": "fp16"}


def test_unknown_flags_are_named_without_their_values():
    pasted = understand(["textual_inversion.py", *NEEDED, "--my_key=SECRET", "--other", "SECRET", "--other"])
    assert pasted.unknown == ("--my_key", "--other")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["textual_inversion.py", *NEEDED[1:3]], "needs --pretrained_model_name_or_path, --initializer_token"),
        (["textual_inversion.py", *NEEDED, "--seed=x"], "--seed: invalid int value: 'x'"),
        (["textual_inversion.py", *NEEDED, "--lr=1"], "ambiguous option: --lr"),
        (["textual_inversion.py", *NEEDED, "--lr_scheduler=cosin"], "invalid choice: 'cosin'"),
        (["textual_inversion.py", *NEEDED, "--seed"], "--seed: expected one argument"),
        (["train_dreambooth_lora_sdxl_advanced.py", *NEEDED], "trains more than a word"),
        ([], "needs --pretrained_model_name_or_path"),
    ],
)
def test_what_the_script_would_refuse_is_refused(words, said):
    with pytest.raises(UserError, match=r"^[^\n]*$") as refusal:
        understand(words)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no command"),
        ("just some words", "there is no command"),
        ("textual_inversion.py --train_data_dir=$DATA", "$DATA is set nowhere"),
        ("textual_inversion.py --train_data_dir='a", "No closing quotation"),
    ],
)
def test_a_text_without_a_whole_command_is_refused(text, said):
    with pytest.raises(UserError) as refusal:
        read(text)
    assert said in str(refusal.value)
