"""Stable Diffusion XL: two encoders, size and crop, and the pooled vector, against diffusers' own pipeline."""

import copy
import re
from functools import partial

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from PIL import Image
from torch.nn.functional import cosine_similarity

from tests.conftest import ROOT
from tests.models.published import WIDTHS, is_close, published, random_vectors, sdxl, with_vectors
from tests.tiny import RESOLUTION, tiny_data, tiny_module, tiny_trainer
from tinv.concept import Concept
from tinv.embeddings.norm_constraint import mean_norm
from tinv.models import STABLE_DIFFUSION_XL, LatentDiffusion, load
from tinv.models.sampling import generate_images
from tinv.optim import RiemannianSGD
from tinv.training.regularizers import ContextRegularizer, L2ToInitRegularizer

PROMPTS = ["a photo of a red cat!", "", "painting " * 80]
PROMPT = "a photo of a <cat-toy> on the beach"
FAST = {"num_inference_steps": 3, "guidance_scale": 3.0}
VECTORS = {"<cat-toy>": random_vectors("sdxl")}


def model_of(pipeline):
    """A model of copies of a pipeline's components."""
    components = {k: v for k, v in pipeline.components.items() if k not in ("image_encoder", "feature_extractor")}
    return LatentDiffusion(STABLE_DIFFUSION_XL, copy.deepcopy(components), name="tiny")


@pytest.fixture(scope="module")
def model():
    return model_of(published("sdxl"))


@pytest.fixture(scope="module")
def correct_eos():
    """A pipeline whose configurations have the true end-of-text token."""
    return sdxl(eos=published("sdxl").tokenizer.eos_token_id)


def encode(pipeline, prompts):
    with torch.no_grad():
        hidden, _, pooled, _ = pipeline.encode_prompt(prompts, device="cpu", do_classifier_free_guidance=False)
    return hidden, pooled


def draw(pipeline, prompt):
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    return pipeline(prompt, generator=torch.Generator().manual_seed(5), **FAST).images[0]


@pytest.mark.filterwarnings("ignore:the caption")
def test_plain_text_is_encoded_as_by_the_pipeline(model):
    text = model.encode_text(PROMPTS, {})
    hidden, pooled = encode(published("sdxl"), PROMPTS)
    assert torch.equal(text.hidden, hidden) and torch.equal(text.pooled, pooled)
    assert text.hidden.shape == (3, 77, 32 + 48) and text.pooled.shape == (3, 48)


def test_learned_tokens_are_encoded_as_by_a_pipeline_with_both_encoders_vectors(correct_eos):
    text = model_of(correct_eos).encode_text([PROMPT], VECTORS)
    hidden, pooled = encode(with_vectors(correct_eos, VECTORS["<cat-toy>"]), [PROMPT])
    assert torch.equal(text.hidden, hidden) and torch.equal(text.pooled, pooled)


def test_the_pooled_vector_is_taken_at_the_true_end_of_text(model, correct_eos):
    """With `eos_token_id: 2` transformers takes it at the largest id, which is that of the learned token."""
    text = model.encode_text([PROMPT], VECTORS)
    hidden, pooled = encode(with_vectors(published("sdxl"), VECTORS["<cat-toy>"]), [PROMPT])
    assert torch.equal(text.hidden, hidden)
    assert not torch.allclose(text.pooled, pooled, atol=1e-2)
    assert torch.equal(text.pooled, model_of(correct_eos).encode_text([PROMPT], VECTORS).pooled)


def test_the_documented_line_moves_the_pooled_vector_of_diffusers_to_the_end_of_text(model):
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^\s*(pipe\.\S+ = \S+)$", page, flags=re.MULTILINE)
    pipe = with_vectors(published("sdxl"), VECTORS["<cat-toy>"])
    exec(line, {"pipe": pipe})
    assert torch.equal(encode(pipe, [PROMPT])[1], model.encode_text([PROMPT], VECTORS).pooled)


def test_images_with_learned_tokens_are_those_of_diffusers(correct_eos):
    """Through both loaders, with the pipeline's own size and crop conditioning."""
    theirs = draw(with_vectors(correct_eos, VECTORS["<cat-toy>"]), PROMPT)
    (image,) = generate_images(model_of(correct_eos), [PROMPT], VECTORS, seeds=[5], **FAST)
    assert image.size == (RESOLUTION, RESOLUTION)
    assert is_close(image, theirs)


@pytest.mark.parametrize("zeros", [True, False])
def test_an_empty_negative_prompt_follows_the_pipelines_setting(tmp_path, zeros):
    pipeline = copy.deepcopy(published("sdxl"))
    pipeline.register_to_config(force_zeros_for_empty_prompt=zeros)
    pipeline.save_pretrained(tmp_path)
    model = load(str(tmp_path))
    assert model.force_zeros_for_empty_prompt == zeros
    (image,) = generate_images(model, ["a cat"], {}, seeds=[5], **FAST)
    assert is_close(image, draw(pipeline, "a cat"))


# --- training ---------------------------------------------------------------------------------------------------------


def test_the_unet_receives_each_images_true_size_and_crop(model, tmp_path):
    """Images of 48 x 40 are cropped and not distorted, and the conditioning says so."""
    data = tiny_data(tmp_path, model)
    Image.open(data.images[0]).resize((64, 32)).save(data.images[0])
    data.encode_images(model.encode_images, resolution=model.resolution)
    numbers = []
    hook = model.unet.add_time_proj.register_forward_pre_hook(lambda _, inputs: numbers.append(inputs[0]))
    batch = next(iter(data.val_dataloader()))
    tiny_module(model).losses(batch)
    hook.remove()
    (sizes,) = numbers
    assert sizes.dtype == torch.float32
    expected = {0: [32, 64, 0, 16, RESOLUTION, RESOLUTION], 1: [40, 48, 0, 3, RESOLUTION, RESOLUTION]}
    assert sizes.view(-1, 6).tolist() == [expected[index] for index in batch.index.tolist()]


def test_gradients_reach_the_vectors_of_both_encoders_and_nothing_else(model, tmp_path):
    module = tiny_module(model, num_vectors=2)
    module.losses(next(iter(tiny_data(tmp_path, model).val_dataloader()))).mean().backward()
    for role, width in WIDTHS["sdxl"].items():
        gradient = module.learned_tokens[0].embedding.weights[role].grad
        assert gradient.shape == (2, width) and gradient.isfinite().all() and (gradient != 0).any(dim=1).all()
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())
    assert not model.text_encoder_2.text_projection.weight.requires_grad


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_changes_float32_vectors_in_both_encoders_and_no_frozen_weight(folders, tmp_path, dtype):
    """The vectors of the second encoder are as exact as those of the first, whatever model.dtype is."""
    model = load(str(folders["sdxl"]), dtype=dtype)
    before = {name: value.clone() for name, value in {**model.state_dict(), **model.vae.state_dict()}.items()}
    module = tiny_module(model, optimizer=partial(torch.optim.AdamW, lr=1e-5, weight_decay=0.0))
    start = module.export_vectors()["<cat-toy>"]
    tiny_trainer(max_steps=3, val_check_interval=3).fit(module, tiny_data(tmp_path, model, batch_size=3, val_draws=4))
    for role, vectors_KD in module.export_vectors()["<cat-toy>"].items():
        change = (vectors_KD - start[role]).abs()
        assert vectors_KD.dtype == torch.float32
        assert (change > 0).all() and change.max() < 5e-5  # less than one step of bfloat16
    after = {**model.state_dict(), **model.vae.state_dict()}
    assert all(torch.equal(before[name], value) for name, value in after.items())
    (learned,) = module.learned_embeddings()
    assert {role: vectors.shape[1] for role, vectors in learned.vectors.items()} == WIDTHS["sdxl"]


def test_a_checkpoint_holds_the_vectors_of_both_encoders(model):
    module = tiny_module(model, num_vectors=3)
    expected = {f"0.embedding.weights.{role}": (3, width) for role, width in WIDTHS["sdxl"].items()}
    assert {name: tuple(value.shape) for name, value in module.state_dict().items()} == expected
    other = tiny_module(model, num_vectors=3, init="random", concept=Concept(placeholder_token="<cat-toy>"))
    other.load_state_dict(module.state_dict())
    restored = other.export_vectors()["<cat-toy>"]
    assert all(torch.equal(restored[role], v) for role, v in module.export_vectors()["<cat-toy>"].items())


@pytest.mark.parametrize(("force_upcast", "dtype"), [(True, torch.float32), (False, torch.float16)])
def test_a_vae_that_would_overflow_never_runs_in_float16(tmp_path, force_upcast, dtype):
    """SDXL's own has `force_upcast: true`; one that was made for float16 has false."""
    pipeline = copy.deepcopy(published("sdxl"))
    pipeline.vae.register_to_config(force_upcast=force_upcast)
    pipeline.save_pretrained(tmp_path)
    model = load(str(tmp_path), dtype="float16")
    assert model.unet.dtype == torch.float16 and model.vae.dtype == dtype
    dtypes = set()
    for part in (model.vae.encoder, model.vae.decoder):
        part.register_forward_hook(lambda module, inputs, output: dtypes.add(output.dtype))
    with torch.autocast("cpu", torch.float16):
        model.encode_images(torch.zeros(1, 3, RESOLUTION, RESOLUTION))
        pixels = model.decode_latents(torch.zeros(1, 4, RESOLUTION // 2, RESOLUTION // 2, dtype=torch.float16))
    assert dtypes == {dtype} and pixels.dtype == torch.float32


# --- methods over both encoders ---------------------------------------------------------------------------------------


def test_init_uses_each_encoders_own_states_and_vocabulary(model):
    cross, vocabulary = (
        tiny_module(model, init=init).export_vectors()["<cat-toy>"] for init in ("cross", "vocabulary")
    )
    for role, encoder in model.text_encoders.items():
        ids = encoder.tokenizer("toy", padding="max_length", return_tensors="pt").input_ids
        with torch.no_grad():
            hidden = encoder.encoder(ids, output_hidden_states=True).hidden_states[-2]
        assert torch.equal(cross[role][0], hidden[0, 1])
        assert torch.allclose(vocabulary[role][0], model.tables[role].mean(dim=0))


def test_the_context_loss_is_zero_at_the_initializer_and_reaches_both_encoders(model):
    token = tiny_module(model).learned_tokens[0]
    regularizer = ContextRegularizer(weight=1.0, num_prompts=2)
    assert abs(regularizer(token, model, seed=0, step=0).item()) < 1e-6
    with torch.no_grad():
        for vectors in token.embedding.parameters():
            vectors.add_(0.3 * torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0)))
    regularizer(token, model, seed=0, step=0).backward()
    assert all(vectors.grad.abs().max() > 0 for vectors in token.embedding.weights.values())


def test_the_distance_is_the_sum_over_the_encoders(model):
    token = tiny_module(model).learned_tokens[0]
    with torch.no_grad():
        for vectors, distance in zip(token.embedding.weights.values(), (3.0, 4.0), strict=True):
            vectors[:, 0] += distance
    assert L2ToInitRegularizer(weight=0.1)(token, model, seed=0, step=0).item() == pytest.approx(0.7, rel=1e-5)


def test_directional_training_keeps_each_encoders_own_length(model, tmp_path):
    module = tiny_module(model, norm="directional", optimizer=partial(RiemannianSGD, lr=0.1))
    weights = module.learned_tokens[0].embedding.weights
    before = {role: vectors.detach().clone() for role, vectors in weights.items()}
    tiny_trainer(max_steps=3, limit_val_batches=0).fit(module, tiny_data(tmp_path, model, batch_size=1))
    for role, vectors in weights.items():
        assert vectors.norm().item() == pytest.approx(mean_norm(model.tables[role]), rel=1e-6)
        assert cosine_similarity(vectors, before[role]).item() < 0.9999
