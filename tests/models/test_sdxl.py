"""Stable Diffusion XL: two encoders, size and crop, and the pooled vector, against diffusers' own pipeline."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from PIL import Image

from tests.models.published import SIDE, published, sdxl
from tests.tiny import tiny_data, tiny_module, tiny_trainer
from tests.training.test_module import one_batch
from tinv.concept import Concept
from tinv.models import STABLE_DIFFUSION_XL, LatentDiffusion, load
from tinv.models.sampling import generate_images

PROMPTS = ["a photo of a red cat!", "", "painting " * 80]
WORD = "a photo of a <cat-toy> on the beach"
FAST = {"num_inference_steps": 3, "guidance_scale": 3.0}


def ours(pipeline):
    """A model around copies of a pipeline's parts."""
    parts = {k: v for k, v in pipeline.components.items() if k not in ("image_encoder", "feature_extractor")}
    return LatentDiffusion(STABLE_DIFFUSION_XL, copy.deepcopy(parts), name="tiny")


@pytest.fixture(scope="module")
def model():
    return ours(published("sdxl"))


@pytest.fixture(scope="module")
def right():
    """A pipeline whose configurations say which token ends a text."""
    return sdxl(eos=published("sdxl").tokenizer.eos_token_id)


def rows(count=2):
    stream = torch.Generator().manual_seed(9)
    widths = {"clip_l": 32, "clip_g": 48}
    return {"<cat-toy>": {name: torch.randn(count, width, generator=stream) for name, width in widths.items()}}


def with_words(pipeline, vectors):
    """diffusers' own way: each encoder's rows through its loader."""
    pipeline = copy.deepcopy(pipeline)
    parts = {"clip_l": ("tokenizer", "text_encoder"), "clip_g": ("tokenizer_2", "text_encoder_2")}
    for encoder, (tokenizer, text_encoder) in parts.items():
        part = {"tokenizer": getattr(pipeline, tokenizer), "text_encoder": getattr(pipeline, text_encoder)}
        pipeline.load_textual_inversion(vectors["<cat-toy>"][encoder], token="<cat-toy>", **part)
    return pipeline


def encoded(pipeline, prompts):
    with torch.no_grad():
        hidden, _, pooled, _ = pipeline.encode_prompt(prompts, device="cpu", do_classifier_free_guidance=False)
    return hidden, pooled


@pytest.mark.filterwarnings("ignore:the caption")
def test_plain_text_is_encoded_as_the_pipeline_does(model):
    text = model.encode_text(PROMPTS, {})
    hidden, pooled = encoded(published("sdxl"), PROMPTS)
    assert torch.equal(text.hidden, hidden) and torch.equal(text.pooled, pooled)
    assert text.hidden.shape == (3, 77, 32 + 48) and text.pooled.shape == (3, 48)


def test_learned_words_are_encoded_as_after_loading_both_encoders_rows(right):
    text = ours(right).encode_text([WORD], rows())
    hidden, pooled = encoded(with_words(right, rows()), [WORD])
    assert torch.equal(text.hidden, hidden) and torch.equal(text.pooled, pooled)


def test_the_pooled_vector_is_taken_at_the_true_end(model, right):
    """E-2: with `eos_token_id: 2` transformers takes it at the largest id, which is the learned word's."""
    text = model.encode_text([WORD], rows())
    hidden, pooled = encoded(with_words(published("sdxl"), rows()), [WORD])
    assert torch.equal(text.hidden, hidden)
    assert not torch.allclose(text.pooled, pooled, atol=1e-2)
    assert torch.equal(text.pooled, ours(right).encode_text([WORD], rows()).pooled)


def test_our_words_draw_the_pictures_that_diffusers_draws_with_them(right):
    """Through both loaders, with size and crop of the pipeline's own making."""
    pipeline = with_words(right, rows())
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    drawn = pipeline(WORD, num_inference_steps=3, guidance_scale=3.0, generator=torch.Generator().manual_seed(5))
    (picture,) = generate_images(ours(right), [WORD], rows(), seeds=[5], **FAST)
    assert picture.size == (SIDE, SIDE)
    assert np.abs(np.asarray(picture, dtype=int) - np.asarray(drawn.images[0], dtype=int)).max() <= 1
    (plain,) = generate_images(ours(right), ["a photo of a toy on the beach"], {}, seeds=[5], **FAST)
    assert plain.tobytes() != picture.tobytes()


@pytest.mark.parametrize("zero", [True, False])
def test_an_empty_negative_prompt_is_what_the_model_was_trained_with(zero):
    pipeline = copy.deepcopy(published("sdxl"))
    pipeline.register_to_config(force_zeros_for_empty_prompt=zero)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    drawn = pipeline("a cat", num_inference_steps=3, guidance_scale=3.0, generator=torch.Generator().manual_seed(5))
    model = ours(pipeline)
    model.force_zeros_for_empty_prompt = zero
    (picture,) = generate_images(model, ["a cat"], {}, seeds=[5], **FAST)
    assert np.abs(np.asarray(picture, dtype=int) - np.asarray(drawn.images[0], dtype=int)).max() <= 1


def test_whether_an_empty_prompt_is_zeros_is_read_from_the_pipeline(folders, tmp_path):
    assert load(str(folders["sdxl"])).force_zeros_for_empty_prompt
    pipeline = copy.deepcopy(published("sdxl"))
    pipeline.register_to_config(force_zeros_for_empty_prompt=False)
    pipeline.save_pretrained(tmp_path)
    assert not load(str(tmp_path)).force_zeros_for_empty_prompt


def weights(model):
    """Every frozen tensor."""
    return {**model.state_dict(), **model.vae.state_dict()}


# --- training ---------------------------------------------------------------------------------------------------------


class Told:
    """What the U-Net is told of sizes and crop, seen where it embeds the numbers."""

    def __init__(self, model):
        self.numbers = []
        self.hook = model.unet.add_time_proj.register_forward_pre_hook(lambda _, given: self.numbers.append(given[0]))


def test_the_denoiser_is_told_each_pictures_true_size_and_crop(model, tmp_path):
    """E-5: pictures of 48 x 40 are cropped and not distorted, and that is what is said of them."""
    data = tiny_data(tmp_path, model)
    Image.open(data.images[0]).resize((64, 32)).save(data.images[0])
    data.encode_images(model.encode_images, resolution=model.resolution)
    told = Told(model)
    batch = one_batch(data)
    tiny_module(model).losses(batch)
    told.hook.remove()
    (numbers,) = told.numbers
    assert numbers.dtype == torch.float32
    sizes = {
        0: [32, 64, 0, 16, SIDE, SIDE],
        1: [40, 48, 0, 3, SIDE, SIDE],
    }
    assert numbers.view(-1, 6).tolist() == [sizes[index] for index in batch.index.tolist()]


def test_a_batch_may_be_smaller_than_the_others(model, tmp_path):
    """E-4: the sizes and the pooled text go with the samples that there are."""
    data = tiny_data(tmp_path, model, batch_size=3, val_draws=4)
    full, rest = data.val_dataloader()
    assert (len(full), len(rest)) == (3, 1)
    module = tiny_module(model)
    assert module.losses(full).shape == (3,) and module.losses(rest).shape == (1,)


def test_gradients_reach_the_rows_of_both_encoders_and_nothing_else(model, tmp_path):
    """E-7: the second encoder's projection is frozen, too."""
    module = tiny_module(model, num_vectors=2)
    module.losses(one_batch(tiny_data(tmp_path, model))).mean().backward()
    for encoder, width in (("clip_l", 32), ("clip_g", 48)):
        gradient = module.learned_tokens[0].embedding.weights[encoder].grad
        assert gradient.shape == (2, width) and gradient.isfinite().all() and (gradient != 0).any(dim=1).all()
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())
    assert not model.text_encoder_2.text_projection.weight.requires_grad


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_moves_float32_rows_in_both_encoders_and_leaves_the_model_as_it_was(folders, tmp_path, dtype):
    """E-3: the second encoder's rows are no less exact than the first's, whatever the frozen weights run in."""
    model = load(str(folders["sdxl"]), dtype=dtype)
    before = {name: value.clone() for name, value in weights(model).items()}
    module = tiny_module(model, optimizer=partial(torch.optim.AdamW, lr=1e-5, weight_decay=0.0))
    start = module.export_vectors()["<cat-toy>"]
    tiny_trainer(max_steps=3, val_check_interval=3).fit(module, tiny_data(tmp_path, model, batch_size=3, val_draws=4))
    for encoder, rows_KD in module.export_vectors()["<cat-toy>"].items():
        moved = (rows_KD - start[encoder]).abs()
        assert (
            rows_KD.dtype == torch.float32 and (moved > 0).all() and moved.max() < 5e-5
        )  # less than bfloat16 can step
    assert all(torch.equal(before[name], value) for name, value in weights(model).items())
    (learned,) = module.learned_embeddings()
    assert {name: tuple(found.shape) for name, found in learned.vectors.items()} == {
        "clip_l": (1, 32),
        "clip_g": (1, 48),
    }


def test_a_checkpoint_holds_the_rows_of_both_encoders(model, tmp_path):
    module = tiny_module(model, num_vectors=3)
    assert {name: tuple(value.shape) for name, value in module.state_dict().items()} == {
        "embedding.weights.clip_l": (3, 32),
        "embedding.weights.clip_g": (3, 48),
    }
    other = tiny_module(model, num_vectors=3, init="random", concept=Concept(placeholder_token="<cat-toy>"))
    other.load_state_dict(module.state_dict())
    assert all(
        torch.equal(other.export_vectors()["<cat-toy>"][e], v) for e, v in module.export_vectors()["<cat-toy>"].items()
    )


@pytest.mark.parametrize(("dtype", "force", "kept"), [("float16", True, "float32"), ("float16", False, "float16")])
def test_a_vae_that_would_overflow_never_runs_in_float16(tmp_path, dtype, force, kept):
    """E-8: SDXL's own says `force_upcast`; one that was made for float16 says that it need not."""
    pipeline = copy.deepcopy(published("sdxl"))
    pipeline.vae.register_to_config(force_upcast=force)
    pipeline.save_pretrained(tmp_path)
    model = load(str(tmp_path), dtype=dtype)
    assert model.unet.dtype == torch.float16 and model.vae.dtype == getattr(torch, kept)
    seen = set()
    model.vae.decoder.register_forward_hook(lambda module, given, out: seen.add(out.dtype))
    model.vae.encoder.register_forward_hook(lambda module, given, out: seen.add(out.dtype))
    with torch.autocast("cpu", torch.float16):
        model.encode_images(torch.zeros(1, 3, SIDE, SIDE))
        pixels = model.decode_latents(torch.zeros(1, 4, SIDE // 2, SIDE // 2, dtype=torch.float16))
    assert seen == {getattr(torch, kept)} and pixels.dtype == torch.float32
