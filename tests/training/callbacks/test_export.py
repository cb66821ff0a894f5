"""Export writes a finite result however the run ends."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from tests.models.published import published, save
from tests.training.callbacks.fitting import Interrupt, Overflow, crash, fit, vectors
from tinv import __version__
from tinv.errors import UserError
from tinv.formats import read
from tinv.models import load
from tinv.training.callbacks import Checkpoints, Export, RunCard


def file_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_writes_every_n_optimizer_steps_and_at_the_end(tmp_path, model):
    module = fit(tmp_path, model, [Export(tmp_path, every_n_steps=2)], max_steps=5, accumulate=2, num_vectors=3)
    embeddings = {f"learned_embeds{suffix}.safetensors" for suffix in ("", "-steps-2", "-steps-4")}
    assert file_names(tmp_path) == embeddings | {"token_identifier.txt", "type_of_concept.txt"}
    assert (tmp_path / "token_identifier.txt").read_text() == "<cat-toy>\n"
    assert (tmp_path / "type_of_concept.txt").read_text() == "object\n"
    final = read(tmp_path)
    assert torch.equal(final.vectors["clip_l"], vectors(module))
    assert final.provenance["steps"] == "5"
    assert read(tmp_path / "learned_embeds-steps-2.safetensors").provenance["steps"] == "2"


def test_writes_the_result_in_every_format(tmp_path, model):
    formats = ["a1111", "a1111_png", "emb_params", "diffusers_bin", "pipeline"]
    module = fit(tmp_path, model, [Export(tmp_path, every_n_steps=2, formats=formats)], max_steps=3, num_vectors=2)
    files = {"cat-toy.pt", "cat-toy.png", "cat-toy.safetensors", "learned_embeds.bin", "learned_embeds.safetensors"}
    others = {"learned_embeds-steps-2.safetensors", "token_identifier.txt", "type_of_concept.txt"}
    assert file_names(tmp_path) == files | others
    for file in files:
        learned = read(tmp_path / file)
        assert torch.equal(learned.vectors["clip_l"], vectors(module))
        assert learned.placeholder_token == "<cat-toy>"
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "pipeline", safety_checker=None)
    ids = pipeline.tokenizer.convert_tokens_to_ids(["<cat-toy>", "<cat-toy>_1"])
    assert torch.equal(pipeline.text_encoder.get_input_embeddings().weight[ids], vectors(module))


def test_sdxl_has_two_files_in_the_format_of_diffusers_and_one_in_others(tmp_path):
    model = load(str(save(published("sdxl"), tmp_path / "model")))
    run = tmp_path / "run"
    export = Export(run, every_n_steps=1, total_limit=1, formats=["sdxl", "a1111", "pipeline"])
    module = fit(tmp_path, model, [export], max_steps=2, num_vectors=2)
    files = {f"learned_embeds{part}{step}.safetensors" for part in ("", "_2") for step in ("", "-steps-2")}
    files |= {"cat-toy.safetensors", "cat-toy.pt"}
    assert {name for name in file_names(run) if name.endswith((".safetensors", ".pt"))} == files
    expected = module.export_vectors()["<cat-toy>"]
    for path in (run, run / "learned_embeds_2-steps-2.safetensors", run / "cat-toy.safetensors", run / "cat-toy.pt"):
        learned = read(path).vectors
        assert learned.keys() == expected.keys() == {"clip_l", "clip_g"}
        assert all(torch.equal(learned[encoder], vectors) for encoder, vectors in expected.items())
    pipeline = StableDiffusionXLPipeline.from_pretrained(run / "pipeline")
    ids = pipeline.tokenizer_2.convert_tokens_to_ids(["<cat-toy>", "<cat-toy>_1"])
    assert torch.equal(pipeline.text_encoder_2.get_input_embeddings().weight[ids], expected["clip_g"])


def test_the_file_contains_the_metadata(tmp_path, model):
    fit(tmp_path, model, [Export(tmp_path, license="cc0-1.0")], max_steps=1)
    metadata = read(tmp_path).provenance
    assert datetime.now(UTC) - datetime.fromisoformat(metadata.pop("date")) < timedelta(hours=1)
    concept = {"kind": "object", "initializer_token": "toy", "steps": "1", "seed": "0"}
    base = {"base_model": model.name, "fingerprint": model.fingerprint, "prediction_type": "epsilon"}
    assert metadata == concept | base | {"resolution": "32", "license": "cc0-1.0", "tinv_version": __version__}


def test_total_limit_keeps_the_newest_steps(tmp_path, model):
    old = {f"learned_embeds{part}-steps-{step}.safetensors" for step in (90, 100, "mine") for part in ("", "_2")}
    for name in old:
        (tmp_path / name).write_bytes(b"")
    fit(tmp_path, model, [Export(tmp_path, every_n_steps=1, total_limit=3)], max_steps=4)
    names = {name for name in file_names(tmp_path) if "steps" in name}
    assert names == old | {"learned_embeds-steps-4.safetensors"}


def test_a_format_that_cannot_hold_the_embedding_raises_before_the_first_step(tmp_path, model):
    with pytest.raises(UserError, match=r"callbacks.export.formats: the format sdxl has no room for <cat-toy>"):
        fit(tmp_path, model, [Export(tmp_path / "run", formats=["sdxl"])], max_steps=1)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("error", [RuntimeError("crash"), KeyboardInterrupt()])
def test_a_failed_run_writes_what_it_has_learned(tmp_path, model, error):
    expected = fit(tmp_path, model, [], max_steps=3)
    with pytest.raises((RuntimeError, SystemExit)):
        fit(tmp_path, model, [Export(tmp_path, every_n_steps=None), Interrupt(3, error)])
    assert torch.equal(read(tmp_path).vectors["clip_l"], vectors(expected))
    assert read(tmp_path).provenance["steps"] == "3"


def test_a_run_killed_after_its_last_step_exports_on_resume(tmp_path, model):
    resume = crash(tmp_path, model, [RunCard(tmp_path), Checkpoints(tmp_path)], 3, max_steps=3)
    card = (tmp_path / "run.json").read_text()
    module = fit(tmp_path, model, [RunCard(tmp_path), Export(tmp_path)], max_steps=3, resume=resume)
    assert torch.equal(read(tmp_path).vectors["clip_l"], vectors(module))
    assert read(tmp_path).provenance["steps"] == "3"
    assert (tmp_path / "run.json").read_text() == card


def test_a_good_file_is_not_replaced_by_nonfinite_values(tmp_path, model):
    fit(tmp_path, model, [Export(tmp_path)], max_steps=2)
    before = (tmp_path / "learned_embeds.safetensors").read_bytes()
    with pytest.warns(UserWarning, match="was not written: the embedding is not finite"):
        fit(tmp_path, model, [Export(tmp_path)], max_steps=1, optimizer=Overflow)
    assert (tmp_path / "learned_embeds.safetensors").read_bytes() == before


def test_an_error_before_training_writes_no_file(tmp_path, model):
    with pytest.raises(RuntimeError):
        fit(tmp_path, model, [Export(tmp_path / "run"), FailingSetup(0, RuntimeError())])
    assert not (tmp_path / "run").exists()


class FailingSetup(Interrupt):
    def setup(self, *_: object, **__: object) -> None:
        raise self.error
