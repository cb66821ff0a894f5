"""The result is on disk, whole and finite, however the run ends."""

from pathlib import Path

import pytest
import torch

from tests.callbacks.fitting import Interrupt, Overflow, fit, rows
from tinv.callbacks import Checkpoints, Export, RunCard
from tinv.formats import read
from tinv.models import StableDiffusion


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_the_embedding_is_written_every_n_optimizer_steps_and_at_the_end(
    tmp_path: Path, model: StableDiffusion
) -> None:
    module = fit(tmp_path, model, [Export(tmp_path, every_n_steps=2)], max_steps=5, accumulate=2, num_vectors=3)
    assert names(tmp_path) == {
        "learned_embeds-steps-2.safetensors",
        "learned_embeds-steps-4.safetensors",
        "learned_embeds.safetensors",
        "token_identifier.txt",
        "type_of_concept.txt",
    }
    assert (tmp_path / "token_identifier.txt").read_text() == "<cat-toy>\n"
    assert (tmp_path / "type_of_concept.txt").read_text() == "object\n"
    final = read(tmp_path)
    assert torch.equal(final.vectors["clip_l"], rows(module))
    assert final.provenance["base_model"] == model.name
    assert final.provenance["steps"] == "5"
    assert final.provenance["kind"] == "object"
    assert read(tmp_path / "learned_embeds-steps-2.safetensors").provenance["steps"] == "2"


@pytest.mark.parametrize("error", [RuntimeError("crash"), KeyboardInterrupt()])
def test_what_was_learned_before_a_failure_is_kept(
    tmp_path: Path, model: StableDiffusion, error: BaseException
) -> None:
    expected = fit(tmp_path, model, [], max_steps=3)
    with pytest.raises((RuntimeError, SystemExit)):
        fit(tmp_path, model, [Export(tmp_path, every_n_steps=None), Interrupt(3, error)])
    assert torch.equal(read(tmp_path).vectors["clip_l"], rows(expected))
    assert read(tmp_path).provenance["steps"] == "3"


def test_a_run_killed_after_its_last_step_is_completed_on_resume(tmp_path: Path, model: StableDiffusion) -> None:
    with pytest.raises(RuntimeError):
        fit(tmp_path, model, [RunCard(tmp_path), Checkpoints(tmp_path), Interrupt(3, RuntimeError())], max_steps=3)
    card = (tmp_path / "run.json").read_text()
    resume = tmp_path / "checkpoints/step_000003.ckpt"
    module = fit(tmp_path, model, [RunCard(tmp_path), Export(tmp_path)], max_steps=3, resume=resume)
    assert torch.equal(read(tmp_path).vectors["clip_l"], rows(module))
    assert read(tmp_path).provenance["steps"] == "3"
    assert (tmp_path / "run.json").read_text() == card


def test_a_good_file_is_not_replaced_by_numbers_that_are_not_finite(tmp_path: Path, model: StableDiffusion) -> None:
    fit(tmp_path, model, [Export(tmp_path)], max_steps=2)
    before = (tmp_path / "learned_embeds.safetensors").read_bytes()
    with pytest.warns(UserWarning, match="was not written: the embedding is not finite"):
        fit(tmp_path, model, [Export(tmp_path)], max_steps=1, optimizer=Overflow)
    assert (tmp_path / "learned_embeds.safetensors").read_bytes() == before


def test_an_error_before_training_leaves_no_file(tmp_path: Path, model: StableDiffusion) -> None:
    with pytest.raises(RuntimeError):
        fit(tmp_path, model, [Export(tmp_path / "run"), FailingSetup(0, RuntimeError())])
    assert not (tmp_path / "run").exists()


class FailingSetup(Interrupt):
    def setup(self, *_: object, **__: object) -> None:
        raise self.error
