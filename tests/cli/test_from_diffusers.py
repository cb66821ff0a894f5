"""`tinv from-diffusers`."""

import io
import subprocess
import sys

import pytest

from tinv.cli import main

COMMAND = (
    "textual_inversion.py --pretrained_model_name_or_path=a/model --train_data_dir=pics --placeholder_token=<cat-toy> "
    "--initializer_token=toy --hub_token=hf_SECRET --scale"
)


def test_stdout_has_the_command_and_stderr_the_notes(capsys):
    assert main(["from-diffusers", "python", *COMMAND.split()]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("python train.py \\\n    model=local")
    assert "    scale_lr=true \\\n" in output.out
    assert all(line.startswith("note: ") for line in output.err.splitlines())
    assert "note: --hub_token: " in output.err
    assert "SECRET" not in output.out + output.err


def test_words_a_quoted_command_and_stdin_give_the_same(capsys, monkeypatch):
    outputs = []
    for words, piped in ((COMMAND.split(), ""), ([COMMAND.replace("<cat-toy>", "'<cat-toy>'")], ""), ([], COMMAND)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(piped))
        assert main(["from-diffusers", *words]) == 0
        outputs.append(capsys.readouterr())
    assert outputs[0] == outputs[1] == outputs[2]


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_not_taken_for_a_flag_of_the_script(flag, capsys):
    assert main(["from-diffusers", flag]) == 0
    assert "tinv from-diffusers < train.sh" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["textual_inversion.py", "--seed=1"], ["textual_inversion.py", "--lr=1"]])
def test_a_command_that_cannot_be_translated_is_a_one_line_error(words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(["from-diffusers", *words]) == 1
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)


def test_no_heavy_library_is_imported():
    code = (
        "import sys; from tinv.cli import main; main(['from-diffusers', *sys.argv[1:]]);"
        "print([name for name in ('torch', 'numpy', 'PIL', 'lightning') if name in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code, *COMMAND.split()], capture_output=True, text=True)
    assert process.stdout.splitlines()[-1] == "[]", process.stderr
