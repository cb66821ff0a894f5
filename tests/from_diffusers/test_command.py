"""`tinv from-diffusers` itself."""

import io
import subprocess
import sys

import pytest

from tinv.cli import main

COMMAND = (
    "textual_inversion.py --pretrained_model_name_or_path=a/model --train_data_dir=pics --placeholder_token=<cat-toy> "
    "--initializer_token=toy --hub_token=hf_SECRET --scale"
)


def test_the_command_goes_to_the_output_and_the_notes_to_the_errors(capsys):
    assert main(["from-diffusers", "python", *COMMAND.split()]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("python train.py \\\n    model=local")
    assert "    scale_lr=true \\\n" in said.out
    assert all(line.startswith("note: ") for line in said.err.splitlines())
    assert "note: --hub_token: a token is no setting" in said.err
    assert "SECRET" not in said.out + said.err


def test_words_one_text_and_the_input_are_alike(capsys, monkeypatch):
    outputs = []
    for words, piped in ((COMMAND.split(), ""), ([COMMAND.replace("<cat-toy>", "'<cat-toy>'")], ""), ([], COMMAND)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(piped))
        assert main(["from-diffusers", *words]) == 0
        outputs.append(capsys.readouterr())
    assert outputs[0] == outputs[1] == outputs[2]


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_tinv_s_own(flag, capsys):
    assert main(["from-diffusers", flag]) == 0
    assert "tinv from-diffusers < train.sh" in capsys.readouterr().out


def test_what_cannot_be_translated_is_one_sentence(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    for words in ([], ["textual_inversion.py", "--seed=1"], ["textual_inversion.py", "--lr=1"]):
        assert main(["from-diffusers", *words]) == 1
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from tinv.cli import main; main(['from-diffusers', *sys.argv[1:]]);"
        "print([name for name in ('torch', 'numpy', 'PIL', 'lightning') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *COMMAND.split()], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
