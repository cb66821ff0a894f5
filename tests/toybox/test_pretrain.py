"""Every stage of a tiny pretraining runs, and a killed stage resumes bit for bit."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FluxPipeline, StableDiffusionPipeline
from safetensors.torch import load_file

from tinv.toybox import PIPELINE, measure, measure_flow
from tinv.toybox.classifier import ToyClassifier
from tinv.toybox.pretrain import images, stages
from tinv.toybox.pretrain.assemble import assemble_flow, size_of
from tinv.toybox.pretrain.clip import to_pixels
from tinv.toybox.pretrain.flow import FlowModel, padded_length, publish
from tinv.toybox.pretrain.linear_encoder import encode_images, fit_linear_encoder
from tinv.toybox.pretrain.muon import orthogonal
from tinv.toybox.pretrain.schedule import learning_rate
from tinv.toybox.pretrain.settings import (
    ClipSettings,
    FlowSettings,
    ImageEncoderSettings,
    Recipe,
    UnetSettings,
    VaeSettings,
)
from tinv.toybox.pretrain.t5_tokenizer import MAX_LENGTH, load_t5_tokenizer, make_t5_tokenizer
from tinv.toybox.sampling import denoising_losses, load_pipeline
from tinv.toybox.world import describe, render_image

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
    flow=FlowSettings(
        width=32,
        head_width=16,
        double_blocks=1,
        single_blocks=1,
        rope_widths=(4, 6, 6),
        text_width=32,
        text_layers=1,
        decay_samples=STEPS * BATCH,
        **COMMON,
    ),
)
TRAINED = {"clip": "model.safetensors", "image_encoder": "model.safetensors"}
TRAINED |= {"vae": "diffusion_pytorch_model.safetensors", "unet": "diffusion_pytorch_model.safetensors"}
FLOW_WEIGHTS = ("transformer/diffusion_pytorch_model.safetensors", "text_encoder_2/model.safetensors")
STAGES = (
    "images",
    "tokenizer",
    "clip",
    "image_encoder",
    "vae",
    "unet",
    "assemble",
    "flow",
    "flow_decay",
    "flow_assemble",
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the results of all stages."""
    out = tmp_path_factory.mktemp("pretraining")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "CHUNK", 12)
        patch.setattr(stages, "UNSEEN", 4)
        yield stages_run(out, STAGES, TINY)


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


def flow_weights(out: Path, stage: str) -> dict[str, torch.Tensor]:
    return {key: value for file in FLOW_WEIGHTS for key, value in load_file(out / stage / file).items()}


@pytest.mark.parametrize(("stage", "stop_at"), [("flow", 2), ("flow_decay", STEPS + 2)])
def test_a_resumed_flow_stage_gives_the_same_weights(prepared, tmp_path, stage, stop_at):
    for name in ("images", "tokenizer", "clip", "vae_start", "flow.pt"):
        if name != f"{stage}.pt":
            (tmp_path / name).symlink_to(prepared / name)
    stages_run(tmp_path, (stage,), replace(TINY, flow=replace(TINY.flow, stop_at=stop_at)))
    stopped = flow_weights(tmp_path, stage)
    stages_run(tmp_path, (stage,), TINY)
    once, twice = flow_weights(prepared, stage), flow_weights(tmp_path, stage)
    assert once.keys() == twice.keys()
    assert all(torch.equal(once[key], twice[key]) for key in once)
    assert not all(torch.equal(stopped[key], twice[key]) for key in once)


def test_a_decay_starts_again_only_after_more_training(prepared, tmp_path):
    """A finished branch is not repeated; after more steps of the stage flow, a new branch begins there."""
    for name in ("images", "tokenizer", "clip", "vae_start", "tokenizer_2"):
        (tmp_path / name).symlink_to(prepared / name)
    for name in ("flow.pt", "flow_decay.pt"):
        shutil.copy(prepared / name, tmp_path)
    stages_run(tmp_path, ("flow_decay",), TINY)
    assert not (tmp_path / "flow_decay").exists()
    longer = replace(TINY, flow=replace(TINY.flow, samples=6 * BATCH))
    stages_run(tmp_path, ("flow", "flow_decay"), longer)
    assert json.loads((tmp_path / "flow.json").read_text())["samples"] == 6 * BATCH
    assert json.loads((tmp_path / "flow_decay.json").read_text())["samples"] == (6 + STEPS) * BATCH


def test_a_decay_without_a_checkpoint_names_the_stage_to_run(prepared, tmp_path):
    for name in ("images", "tokenizer", "clip", "vae_start"):
        (tmp_path / name).symlink_to(prepared / name)
    with pytest.raises(FileNotFoundError, match="Run it first"):
        stages_run(tmp_path, ("flow_decay",), TINY)


def test_the_flow_stage_writes_a_flux_pipeline(prepared):
    pipeline = FluxPipeline.from_pretrained(prepared / "model" / "flow_pipeline")
    pipeline.set_progress_bar_config(disable=True)
    sizes = {"height": 64, "width": 64, "max_sequence_length": pipeline.tokenizer_2.model_max_length}
    image = pipeline("a red car", num_inference_steps=1, output_type="np", **sizes).images[0]
    assert image.shape == (64, 64, 3)
    assert {module.dtype for module in (pipeline.transformer, pipeline.text_encoder_2)} == {torch.float32}


def test_the_denoising_loss_of_the_flow_model_is_that_of_its_velocity(prepared):
    """A model that always predicts 0 is off by noise minus latents, each of which has a variance of about one."""
    pipeline = load_pipeline(prepared / "model" / "flow_pipeline")
    torch.nn.init.zeros_(pipeline.transformer.proj_out.weight)
    torch.nn.init.zeros_(pipeline.transformer.proj_out.bias)
    renders = np.stack([render_image(seed)[0] for seed in range(8)])
    losses = denoising_losses(pipeline, renders, ["a red car"] * 8)
    assert losses.shape == (8,)
    assert 1.5 < losses.mean() < 2.5
    assert torch.equal(losses, denoising_losses(pipeline, renders, ["a house"] * 8))


def test_the_flow_model_is_measured_and_trained_further(prepared, tmp_path, monkeypatch):
    """The card has the figures of 4 samples; training continues from the shipped weights and their samples."""
    target, out = tmp_path / "model", tmp_path / "work"
    shutil.copytree(prepared / "model", target)
    monkeypatch.setattr(measure, "NUM_GENERATED", 4)
    monkeypatch.setattr(measure, "NUM_HELD_OUT", 4)
    torch.save(ToyClassifier().state_dict(), prepared / "classifier.pt")
    measure_flow.measure_flow(target, out=prepared, images=TINY.images)
    card = json.loads((target / "flow_card" / "card.json").read_text())
    assert card["training"]["samples"] == 2 * STEPS * BATCH
    assert 0 <= card["kind_accuracy"] <= 1
    assert measure_flow.card_text(card) == (target / "flow_card" / "README.md").read_text()
    (target / "card").mkdir()
    facts = {stage: json.loads((prepared / f"{stage}.json").read_text()) for stage in TRAINED}
    (target / "card" / "card.json").write_text(json.dumps({"training": facts}))
    out.mkdir()
    (out / "images").symlink_to(prepared / "images")
    stages.run(("unpack",), out=out, target=target, recipe=TINY)
    before = flow_weights(out, "flow")
    assert all(torch.equal(before[key], value.half()) for key, value in flow_weights(prepared, "flow_decay").items())
    still = replace(TINY, flow=replace(TINY.flow, rate=0.0, muon_rate=0.0))
    stages.run(("flow",), out=out, target=target, recipe=still)
    after = flow_weights(out, "flow")
    assert all(torch.allclose(after[key], before[key].float(), atol=1e-6) for key in before)
    assert json.loads((out / "flow.json").read_text())["samples"] == 3 * STEPS * BATCH


def test_the_flow_pipeline_of_the_recipe_takes_at_most_14_megabytes(tmp_path):
    """With the shipped CLIP and VAE and the tokenizer of the world's words; the weights' values do not matter."""
    stages.run(("unpack",), out=tmp_path, target=PIPELINE.parent, recipe=TINY)
    make_t5_tokenizer(tmp_path, [[describe(seed).caption] for seed in range(4000)])
    vocabulary = len(load_t5_tokenizer(tmp_path))
    model = FlowModel(Recipe().flow, latent_channels=8, pooled_width=128, vocabulary=vocabulary)
    publish(tmp_path / "flow_decay", model, {})
    assemble_flow(tmp_path, tmp_path)
    assert 10 < size_of(tmp_path / "flow_pipeline") <= 14


def test_the_linear_encoder_gives_the_latents_of_the_shipped_vae():
    vae = AutoencoderKL.from_pretrained(PIPELINE / "vae")
    fitted, others = (
        torch.from_numpy(np.stack([render_image(seed)[0] for seed in seeds])).permute(0, 3, 1, 2)
        for seeds in (range(20), range(20, 30))
    )
    with torch.no_grad():
        latents = vae.encode(to_pixels(others)).latent_dist.mean * vae.config.scaling_factor
    torch.testing.assert_close(
        encode_images(others, fit_linear_encoder(vae, fitted)).float(), latents, atol=0.02, rtol=0
    )


def test_a_vae_that_is_not_linear_is_refused():
    torch.manual_seed(0)
    vae = AutoencoderKL(block_out_channels=(4, 4, 4), down_block_types=("DownEncoderBlock2D",) * 3,
                        up_block_types=("UpDecoderBlock2D",) * 3, latent_channels=8, norm_num_groups=2)  # fmt: skip
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    with pytest.raises(ValueError, match="not linear"):
        fit_linear_encoder(vae, images)


def test_the_padding_of_captions_varies_between_batches():
    """Multiples of 8 from the longest caption to 64."""
    ids = torch.zeros(3, MAX_LENGTH, dtype=torch.int64)
    ids[0, :19] = 1
    lengths = {padded_length(ids, 0, torch.Generator().manual_seed(seed)) for seed in range(100)}
    assert lengths == {24, 32, 40, 48, 56, 64}


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
