"""Rows for each layer of the U-Net: the laws that hold them to ordinary rows, in training and in drawing."""

import warnings
from functools import partial

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor, SlicedAttnProcessor

from tests.resuming import broken_off
from tests.tiny import tiny_data, tiny_model, tiny_module, tiny_pipeline, tiny_trainer
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError
from tinv.models import load
from tinv.models.conditioning import layers_of
from tinv.models.runtime import compile_unet
from tinv.models.sampling import sample_pixels
from tinv.token_parts import part_of
from tinv.training.callbacks import CheckLearning
from tinv.training.callbacks.check_learning import NotLearningError

FAST = {"seeds": [1, 2], "num_inference_steps": 3, "guidance_scale": 3.0}
PROMPTS = ["a photo of a <cat-toy> on the beach", "a red dog"]


def rows_of(module):
    return module.learned_tokens[0].embedding.weights["clip_l"]


def apart(model, **options):
    """A module whose layers have drifted apart."""
    module = tiny_module(model, per_layer=True, **options)
    torch.nn.init.normal_(rows_of(module), generator=torch.Generator().manual_seed(3))
    return module


def gradient(module, batch):
    loss = module.losses(batch)
    return loss.detach(), torch.autograd.grad(loss.mean(), rows_of(module))[0]


def test_layers_are_those_that_look_at_the_text_in_the_order_of_a_picture(model):
    names = layers_of(model.unet)
    assert [name.partition(".attentions")[0] for name in names] == ["down_blocks.1", "mid_block", *["up_blocks.0"] * 2]
    assert all(isinstance(model.unet.get_submodule(name), Attention) for name in names)


def test_stable_diffusion_1_has_the_sixteen_of_the_papers():
    with torch.device("meta"):
        names = layers_of(UNet2DConditionModel(cross_attention_dim=768))
    places = [name.removesuffix(".transformer_blocks.0.attn2").replace(".attentions.", " ") for name in names]
    assert places == [
        *(f"down_blocks.{block} {number}" for block in (0, 1, 2) for number in (0, 1)),
        "mid_block 0",
        *(f"up_blocks.{block} {number}" for block in (1, 2, 3) for number in (0, 1, 2)),
    ]


@pytest.mark.parametrize("num_vectors", [1, 3])
def test_equal_layers_are_ordinary_rows_and_their_gradients_add_up_to_theirs(model, batch, num_vectors):
    plain, layered = (tiny_module(model, num_vectors=num_vectors, per_layer=layers) for layers in (False, True))
    (loss, whole), (same, by_layer) = gradient(plain, batch), gradient(layered, batch)
    torch.testing.assert_close(same, loss)
    by_layer = by_layer.view(len(layers_of(model.unet)), num_vectors, -1)
    torch.testing.assert_close(by_layer.sum(dim=0), whole)
    assert (by_layer != 0).any(dim=2).all()


def test_each_layer_is_told_of_its_own_rows_and_of_no_others(model, batch):
    module, told = apart(model), {}

    def note(name):
        return lambda layer, given, named, output: told.__setitem__(name, named["encoder_hidden_states"])

    handles = [
        model.unet.get_submodule(name).register_forward_hook(note(name), with_kwargs=True)
        for name in layers_of(model.unet)
    ]
    module.losses(batch)
    for handle in handles:
        handle.remove()
    for name, rows in module.export_vectors()["<cat-toy>"].items():
        expected = model.encode_text(batch.captions, {"<cat-toy>": {"clip_l": rows}}).hidden
        torch.testing.assert_close(told.pop(part_of(name)), expected)
    assert not told


def test_ordinary_words_are_told_to_the_same_unet_as_ever(tmp_path):
    """Once a U-Net has been told by layer, it still is not with words that have no layers: to the last bit."""
    model = tiny_model(tmp_path / "model")
    batch = next(iter(tiny_data(tmp_path / "data", model).val_dataloader()))
    before = gradient(tiny_module(model), batch)
    apart(model).losses(batch)
    assert all(map(torch.equal, before, gradient(tiny_module(model), batch)))


def test_activations_that_are_computed_again_are_those_of_their_own_layers(tmp_path, batch):
    folder = str(tiny_pipeline(tmp_path))
    kept, again = (apart(load(folder, gradient_checkpointing=flag)) for flag in (False, True))
    assert all(map(torch.equal, gradient(kept, batch), gradient(again, batch)))


@pytest.mark.parametrize("processor", [AttnProcessor(), SlicedAttnProcessor(1)], ids=["plain", "sliced"])
def test_layers_are_told_their_own_by_whatever_code_computes_attention(tmp_path, batch, processor):
    """As `model.attention=xformers` replaces torch's: what a layer is told is chosen before its processor sees it."""
    module = apart(tiny_model(tmp_path))
    expected = gradient(module, batch)
    module.model.unet.set_attn_processor(processor)
    torch.testing.assert_close(gradient(module, batch), expected)
    tall = expected[1].view(len(layers_of(module.model.unet)), -1)
    assert not torch.allclose(tall[0], tall[1]), "the layers differ in what they are told"


def test_micro_batches_side_by_side_add_up(model, tmp_path):
    learned = []
    for merge in (False, True):
        module = tiny_module(model, per_layer=True, merge_batches=merge)
        tiny_trainer(accumulate_grad_batches=2).fit(module, tiny_data(tmp_path, model))
        learned.append(rows_of(module).detach())
    torch.testing.assert_close(*learned, atol=2e-5, rtol=0)


def test_pictures_of_equal_layers_are_those_of_ordinary_rows(model):
    modules = [tiny_module(model, num_vectors=2, per_layer=layers) for layers in (False, True)]
    pictures = [sample_pixels(model, PROMPTS, module.export_vectors(), **FAST) for module in modules]
    torch.testing.assert_close(*pictures, atol=1e-4, rtol=0)


def test_pictures_of_layers_apart_are_others(model):
    plain, apart_ = tiny_module(model), apart(model)
    before, after = (sample_pixels(model, PROMPTS, module.export_vectors(), **FAST) for module in (plain, apart_))
    assert (before[0] - after[0]).abs().max() > 0.01
    torch.testing.assert_close(before[1], after[1], atol=1e-4, rtol=0)


def test_a_resumed_run_is_the_uninterrupted_run_to_the_last_bit(model, tmp_path):
    data = tiny_data(tmp_path / "data", model)
    run = broken_off(lambda: tiny_module(model, per_layer=True), data, tmp_path, at=3, of=6)
    assert torch.equal(rows_of(run.whole), rows_of(run.resumed))
    first, *rest = rows_of(run.whole).detach()
    assert not any(torch.equal(first, other) for other in rest)
    with pytest.raises(UserError, match="rows was 'for each of 4 layers of the U-Net' and is 'for each of 4 stages"):
        tiny_trainer().fit(tiny_module(model, timestep_stages=4), data, ckpt_path=run.checkpoint, weights_only=True)


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_layers_that_take_no_notice_of_words_are_told_of_and_a_word_that_none_hears_is_stuck(tmp_path):
    model = tiny_model(tmp_path / "model")
    names = layers_of(model.unet)

    def learn():
        watch = CheckLearning(after_steps=2)
        tiny_trainer(callbacks=[watch]).fit(tiny_module(model, per_layer=True), tiny_data(tmp_path / "data", model))

    model.unet.get_submodule(names[1]).to_v.weight.data.zero_()
    with pytest.warns(UserWarning, match=f"their vectors keep their initial values: {names[1]}$"):
        learn()
    for name in names:
        model.unet.get_submodule(name).to_v.weight.data.zero_()
    with (
        pytest.raises(NotLearningError, match=r"clip_l \(the only vector\) had no gradient"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        learn()


def test_stages_and_layers_of_a_word_are_refused_and_so_is_sdxl():
    with pytest.raises(
        UserError, match="a word has rows for stages or for layers; set timestep_stages=1 or layers=false"
    ):
        EmbeddingConfig(timestep_stages=2, per_layer=True)
    EmbeddingConfig(per_layer=True).check_model(1)
    with pytest.raises(UserError, match="is for Stable Diffusion 1 and 2: SDXL has 70 layers"):
        EmbeddingConfig(per_layer=True).check_model(2)


@pytest.mark.slow
def test_a_compiled_unet_tells_each_layer_its_own(tmp_path, batch, monkeypatch):
    """All of torch.compile but the machine code; an ordinary word before it must not leave its code behind."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    folder = str(tiny_pipeline(tmp_path))
    plain, fast = load(folder), load(folder)
    compile_unet(fast.unet)
    for make in (tiny_module, apart):
        expected, found = gradient(make(plain), batch), gradient(make(fast), batch)
        torch.testing.assert_close(found, expected)
