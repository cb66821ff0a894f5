"""`tinv inspect` describes a file."""

import pytest
import torch

from tests.formats import foreign
from tests.formats.foreign import saved
from tests.models.published import published, save
from tests.tiny import tiny_pipeline
from tinv import formats
from tinv.cli import main
from tinv.formats import LearnedEmbedding
from tinv.models import load


@pytest.fixture
def run(capsys):
    """Runs the command; returns the exit code and its outputs."""

    def run(*arguments):
        code = main(["inspect", *map(str, arguments)])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def test_the_report_has_the_format_the_token_and_the_vectors(tmp_path, run):
    rows = torch.zeros(2, 768)
    rows[0, 0], rows[1, 1] = 3.0, 4.0
    tree = foreign.a1111_tree({"*": rows.half()})
    code, output, _ = run(foreign.pickled(tmp_path / "any.pt", tree))
    assert code == 0
    lines = [line.split(maxsplit=1) for line in output.splitlines() if line]
    assert lines[1:] == [
        ["format", "AUTOMATIC1111, in a torch file"],
        ["tensor", "string_to_param * [2, 768] float16"],
        ["token", "cat-toy"],
        ["clip_l", "2 vectors of width 768"],
        ["0", "norm 3.000"],
        ["1", "norm 4.000"],
        ["model", "SD 1: diffusers, AUTOMATIC1111, ComfyUI, InvokeAI, tinv.load_embedding"],
        ["partly", "SDXL, SD 3.5, Flux.1, HunyuanVideo, HiDream have these text encoders and others"],
        ["sd_checkpoint", "cc6cb27103"],
        ["sd_checkpoint_name", "v1-5-pruned"],
        ["steps", "1500"],
    ]


@pytest.mark.parametrize("make", foreign.FILES, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore:.*which only OneTrainer uses", "ignore:.*the first of")
def test_files_of_every_program_are_described(tmp_path, run, make):
    made = make(tmp_path)
    code, output, _ = run(made.path)
    assert code == 0
    for token, by_encoder in made.vectors.items():
        assert f"token     {token}\n" in output
        for encoder, vectors_KD in by_encoder.items():
            assert f"of width {vectors_KD.shape[1]}" in output and encoder in output


@pytest.mark.parametrize(
    ("make", "model"),
    [
        (foreign.onetrainer_flux, "Flux.1: diffusers (tensor by tensor), ComfyUI (in part), OneTrainer, tinv"),
        (foreign.comfy_flux, "Flux.1: diffusers (tensor by tensor), ComfyUI, OneTrainer (in part), tinv"),
        (foreign.onetrainer_chroma, "PixArt-Sigma: ComfyUI, OneTrainer, tinv"),
        (foreign.onetrainer_sana, "Lumina2: tinv"),
        (foreign.comfy_klein, "Flux.2 klein 4B: ComfyUI, tinv"),
        (foreign.comfy_klein, "Z-Image: tinv"),
        (foreign.dti_wan, "Wan: tinv"),
        (foreign.dti_sd3, "SD 3.5: ComfyUI (in part), tinv"),
    ],
)
def test_the_models_and_the_programs_that_load_the_file_are_named(tmp_path, run, make, model):
    _, output, _ = run(make(tmp_path).path)
    assert f"model     {model}.load_embedding\n" in output
    assert ("T5" in output, "Wan:" in output) == (False, make is foreign.dti_wan)


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_the_words_of_a_model_nearest_to_the_vectors_are_listed(tmp_path, run, name):
    folder = save(published(name), tmp_path / "model")
    model = load(str(folder))
    number = model.tokenizer.convert_tokens_to_ids("toy</w>")
    vectors = {encoder: 2 * table[number : number + 1] for encoder, table in model.tables.items()}
    formats.write(tmp_path / "learned_embeds.safetensors", LearnedEmbedding("<cat-toy>", vectors))
    code, output, _ = run(tmp_path, "--model", folder)
    assert code == 0
    assert output.count("near toy 1.00, ") == len(vectors)
    assert output.count("median norm") == len(vectors)


def test_a_model_of_another_width_is_named(tmp_path, run):
    folder = tiny_pipeline(tmp_path / "model")
    code, output, error = run(foreign.sdxl(tmp_path).path, "--model", folder)
    assert (code, output) == (1, "")
    assert "--model takes vectors of width {'clip_l': 32}" in error


def test_the_message_says_what_a_file_is_that_is_no_embedding(tmp_path, run):
    lora = saved(tmp_path / "lora.safetensors", {"unet.lora_up.weight": torch.ones(2, 2)})
    code, output, error = run(lora)
    assert (code, output) == (1, "")
    assert error == f"{lora} is a LoRA, not an embedding; tinv reads textual inversion files\n"


def test_metadata_cannot_control_the_terminal(tmp_path, run):
    hostile = {"note": "\x1b]0;title\x07 and \x1b[2J", "\x1b[31m": "x", "long": "y" * 1000}
    file = saved(tmp_path / "x.safetensors", {"emb_params": foreign.L}, hostile)
    code, output, _ = run(file)
    assert code == 0
    assert all(line.isprintable() for line in output.splitlines())
    assert max(map(len, output.splitlines())) < 250


def test_zeros_and_far_too_long_vectors_are_said(tmp_path, run):
    vectors_KD = foreign.L.clone()
    vectors_KD[0], vectors_KD[1] = 0, 3e38
    code, output, _ = run(saved(tmp_path / "x.safetensors", {"<cat>": vectors_KD}))
    assert code == 0
    assert "1 of 2 vectors of clip_l are all zeros and the longest vector of clip_l has a norm of 8.3e+39" in output
    assert "unusual" not in run(saved(tmp_path / "x.safetensors", {"<cat>": foreign.L}))[1]


def test_a_file_name_may_contain_a_newline(tmp_path, run):
    code, output, _ = run(saved(tmp_path / "a\nb.safetensors", {"emb_params": foreign.L}, {"negative": "x"}))
    assert code == 0
    assert "a.b.safetensors" in output and "token     a-b\n" in output
