"""Every stage of a tiny pretraining runs, and a killed stage resumes bit for bit."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from tinv.toybox.pretrain import images, stages
from tinv.toybox.pretrain.muon import orthogonal
from tinv.toybox.pretrain.schedule import learning_rate
from tinv.toybox.pretrain.settings import ClipSettings, ImageEncoderSettings, Recipe, UnetSettings, VaeSettings

STEPS, BATCH = 4, 4
COMMON = {"samples": STEPS * BATCH, "batch": BATCH, "rate": 1e-3, "checkpoint_every": 100}
TINY = Recipe(
    images=24,
    processes=1,
    clip=ClipSettings(
        text_width=32, text_layers=1, vision_width=32, vision_layers=1, patch=16, projection=16, **COMMON
    ),
    image_encoder=ImageEncoderSettings(**COMMON),
    vae=VaeSettings(widths=(16, 32, 64), **COMMON),
    unet=UnetSettings(widths=(16, 32), **COMMON),
)
TRAINED = {"clip": "model.safetensors", "image_encoder": "model.safetensors"}
TRAINED |= {"vae": "diffusion_pytorch_model.safetensors", "unet": "diffusion_pytorch_model.safetensors"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the results of all stages."""
    out = tmp_path_factory.mktemp("pretraining")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "CHUNK", 12)
        patch.setattr(stages, "UNSEEN", 4)
        yield stages_run(out, ("images", "tokenizer", "clip", "image_encoder", "vae", "unet", "assemble"), TINY)


def stages_run(out: Path, requested: tuple[str, ...], recipe: Recipe) -> Path:
    stages.run(requested, out=out, target=out / "model", recipe=recipe)
    return out


def weights(out: Path, stage: str) -> dict[str, torch.Tensor]:
    return load_file(out / stage / TRAINED[stage])


@pytest.mark.parametrize("stage", TRAINED)
def test_a_resumed_stage_gives_the_same_weights(prepared, tmp_path, stage):
    """Stopped after two of four steps."""
    for name in ("images", "tokenizer", "clip", "vae_start"):
        if name != stage:
            (tmp_path / name).symlink_to(prepared / name)
    stopped = replace(getattr(TINY, stage), stop_at=2)
    stages_run(tmp_path, (stage,), replace(TINY, **{stage: stopped}))
    assert (tmp_path / f"{stage}.pt").exists()
    stages_run(tmp_path, (stage,), TINY)
    once, twice = weights(prepared, stage), weights(tmp_path, stage)
    assert once.keys() == twice.keys()
    assert all(torch.equal(once[key], twice[key]) for key in once)


def test_the_image_encoder_changes_and_the_text_encoder_does_not(prepared):
    """The denoiser depends on the text encoder."""
    before, after = weights(prepared, "clip"), weights(prepared, "image_encoder")
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert not {key for key in changed if key.startswith("text_model.")}
    assert {"visual_projection.weight", "text_projection.weight"} < changed


def test_the_result_is_a_pipeline(prepared):
    pipeline = StableDiffusionPipeline.from_pretrained(prepared / "model" / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a red car", num_inference_steps=1, output_type="np").images[0]
    assert image.shape == (64, 64, 3)


def test_an_unpacked_model_can_be_trained_further(prepared, tmp_path):
    """The denoiser continues from the weights and the number of samples."""
    facts = {stage: json.loads((prepared / f"{stage}.json").read_text()) for stage in TRAINED}
    target, out = tmp_path / "model", tmp_path / "work"
    shutil.copytree(prepared / "model", target)
    (target / "card").mkdir()
    (target / "card" / "card.json").write_text(json.dumps({"training": facts}))
    out.mkdir()
    (out / "images").symlink_to(prepared / "images")
    stages.run(("unpack",), out=out, target=target, recipe=TINY)
    before = weights(out, "unet")
    assert all(torch.equal(before[key], value.half()) for key, value in weights(prepared, "unet").items())
    stages.run(
        ("unet",), out=out, target=target, recipe=replace(TINY, unet=replace(TINY.unet, rate=0.0, muon_rate=0.0))
    )
    after = weights(out, "unet")
    assert all(torch.allclose(after[key], before[key].float(), atol=1e-6) for key in before)
    assert json.loads((out / "unet.json").read_text())["samples"] == 2 * STEPS * BATCH


def test_finished_images_are_not_rendered_again(prepared):
    times = {path: path.stat().st_mtime_ns for path in (prepared / "images").iterdir()}
    images.render_images(prepared, count=24, processes=1)
    assert times == {path: path.stat().st_mtime_ns for path in (prepared / "images").iterdir()}


def test_the_middle_of_the_schedule_does_not_depend_on_its_end():
    """So a stage can be extended or ended early."""
    short, long = ([learning_rate(step, steps, 1.0, warmup=10) for step in range(80)] for steps in (100, 1000))
    assert short == long
    assert learning_rate(100, 100, 1.0) == 0


def test_muon_steps_are_orthogonal():
    """Singular values near one for tall, wide and square matrices."""
    torch.manual_seed(0)
    for shape in ((32, 96), (96, 32), (48, 48)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)).float())
        assert values.max() < 1.3
        assert values[: len(values) * 9 // 10].min() > 0.4
