"""With diffusers alone, the exported pipeline encodes and draws learned tokens as the model does."""

import json
import subprocess
import sys
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

from tests.models.published import is_close, published, save
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.inference.export_pipeline import write
from tinv.models import load
from tinv.models.sampling import generate_images

PROMPT = "a photo of a <cat-toy> on the beach"


@pytest.fixture(scope="module", params=["sd1", "sd2", "sdxl"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(str(save(published(request.param), tmp_path_factory.mktemp("base") / request.param)))


def embedding(model: Any, placeholder: str = "<cat-toy>", count: int = 2, seed: int = 0) -> LearnedEmbedding:
    generator = torch.Generator().manual_seed(seed)
    vectors = {
        encoder: table.float().std() * torch.randn(count, table.shape[1], generator=generator)
        for encoder, table in model.tables.items()
    }
    return LearnedEmbedding(placeholder, vectors, {"base_model": model.name, "fingerprint": model.fingerprint})


def export(folder, learned, model):
    """The pipeline with the embeddings, loaded by diffusers."""
    return DiffusionPipeline.from_pretrained(write(folder, learned, model), safety_checker=None, dtype=torch.float32)


def features(pipeline: Any, prompt: str) -> list[torch.Tensor]:
    outputs = pipeline.encode_prompt(prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    return [tensor for tensor in outputs if tensor is not None]


def test_diffusers_encodes_the_token_as_the_model_does(tmp_path, model):
    learned = [embedding(model), embedding(model, "<dog>", count=1, seed=1)]
    pipeline = export(tmp_path / "p", learned, model)
    vectors = {each.placeholder_token: each.vectors for each in learned}
    for prompt in (PROMPT, "a <dog> and a <cat-toy>", "a red cat"):
        ours = model.encode_text([prompt], vectors)
        theirs = features(pipeline, prompt)
        assert torch.equal(theirs[0], ours.hidden)
        if ours.pooled is not None:
            assert torch.equal(theirs[1], ours.pooled)  # at the end of text, although the model has eos_token_id 2


def test_diffusers_draws_the_image_that_the_model_draws(tmp_path, model):
    learned = embedding(model)
    pipeline = export(tmp_path / "p", [learned], model)
    pipeline.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 3, "guidance_scale": 2.0}
    theirs = pipeline(PROMPT, generator=torch.Generator().manual_seed(5), **options).images[0]
    prompts, vectors = [PROMPT, PROMPT.replace("<cat-toy>", "cat")], {learned.placeholder_token: learned.vectors}
    ours, other = generate_images(model, prompts, vectors, seeds=[5, 5], **options)
    assert is_close(ours, theirs) and not is_close(ours, other)


def test_every_encoder_has_the_exact_vectors_and_every_tokenizer_the_tokens(tmp_path, model):
    learned = embedding(model)
    pipeline = export(tmp_path / "p", [learned], model)
    for number, (encoder, vectors_KD) in enumerate(learned.vectors.items()):
        suffix = "" if number == 0 else f"_{number + 1}"
        tokenizer, text = getattr(pipeline, f"tokenizer{suffix}"), getattr(pipeline, f"text_encoder{suffix}")
        ids = tokenizer.convert_tokens_to_ids(["<cat-toy>", "<cat-toy>_1"])
        table = text.get_input_embeddings().weight
        assert torch.equal(table[ids], vectors_KD)
        assert torch.equal(table[: len(tokenizer) - 2], model.tables[encoder][: len(tokenizer) - 2])
        assert tokenizer.tokenize("a <cat-toy> <cat-toy>_1") == ["a</w>", "<cat-toy>", "<cat-toy>_1"]


def test_exporting_does_not_change_the_model(tmp_path, model):
    before = {encoder: table.clone() for encoder, table in model.tables.items()}
    lengths = {encoder: len(tokenizer) for encoder, tokenizer in model.tokenizers.items()}
    features = model.encode_text([PROMPT], {"<cat-toy>": embedding(model).vectors}).hidden
    write(tmp_path / "p", [embedding(model)], model)
    assert all(torch.equal(model.tables[encoder], table) for encoder, table in before.items())
    assert lengths == {encoder: len(tokenizer) for encoder, tokenizer in model.tokenizers.items()}
    assert torch.equal(model.encode_text([PROMPT], {"<cat-toy>": embedding(model).vectors}).hidden, features)


def test_the_text_encoders_of_a_bfloat16_model_are_exported_in_float32(tmp_path):
    model = load(str(save(published("sd1"), tmp_path / "base")), dtype="bfloat16")
    learned = embedding(model)
    pipeline = export(tmp_path / "p", [learned], model)
    ids = pipeline.tokenizer.convert_tokens_to_ids(["<cat-toy>", "<cat-toy>_1"])
    assert torch.equal(pipeline.text_encoder.get_input_embeddings().weight[ids], learned.vectors["clip_l"])


def test_the_readme_shows_the_tokens_to_write(tmp_path, model):
    folder = write(tmp_path / "p", [embedding(model, count=3)], model)
    text = (folder / "README.md").read_text()
    assert "| `<cat-toy>` | 3 | `<cat-toy>` | `<cat-toy> <cat-toy>_1 <cat-toy>_2` |" in text
    kind = json.loads((folder / "model_index.json").read_text())["_class_name"]
    assert f"{kind}.from_pretrained" in text


def test_embeddings_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path, model):
    wide = LearnedEmbedding("<x>", {encoder: torch.ones(1, 7) for encoder in model.tables})
    refused = {
        "has vectors of width 7": [wide],
        "toy is a token of the model's own vocabulary": [embedding(model, "toy")],
        "diffusers would replace zorg inside zorgon": [embedding(model, "zorg"), embedding(model, "zorgon")],
        "cannot contain <cat> and <cat>": [embedding(model, "<cat>"), embedding(model, "<CAT>")],
    }
    for reason, learned in refused.items():
        with pytest.raises(UserError, match=reason):
            write(tmp_path / "p", learned, model)
    assert not list(tmp_path.iterdir())


def test_an_older_pipeline_is_replaced_and_anything_else_is_left_alone(tmp_path, model):
    folder = write(tmp_path / "p", [embedding(model)], model)
    (folder / "old.txt").write_text("")
    write(tmp_path / "p", [embedding(model)], model)
    assert not (folder / "old.txt").exists()
    (folder / "model_index.json").unlink()
    with pytest.raises(UserError, match="it holds other files"):
        write(tmp_path / "p", [embedding(model)], model)
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


@pytest.mark.slow
def test_the_pipeline_loads_without_tinv(tmp_path, model):
    learned = embedding(model)
    folder = write(tmp_path / "p", [learned], model)
    program = f"""
import sys
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained({str(folder)!r}, safety_checker=None)
pipeline("a photo of a <cat-toy>", num_inference_steps=2).images[0].save({str(tmp_path / "theirs.png")!r})
assert "tinv" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "theirs.png").is_file()
