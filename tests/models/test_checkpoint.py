"""A model in a single file is bit-identical to the same model in a pipeline folder."""

import pickle
import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.models.original import single_file
from tests.models.published import LAYOUTS, is_identical, published
from tinv.errors import UserError
from tinv.models import load, load_tokenizers


def saved(name, path, **options):
    save_file(single_file(name, published(name), **options), path)
    return str(path)


@pytest.fixture
def load_weights(settings, tmp_path):
    """Loads weights from a single file, with the configurations of a layout."""

    def load_weights(name, weights, **options):
        save_file(weights, tmp_path / "m.safetensors")
        return load(str(tmp_path / "m.safetensors"), config=str(settings[name]), **options)

    return load_weights


@pytest.mark.parametrize("options", [{}, {"old_text": True}, {"ema": True}])
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_is_bit_identical_to_the_folder(load_weights, models, name, options):
    model = load_weights(name, single_file(name, published(name), **options))
    assert model.family is models[name].family and model.tables.keys() == models[name].tables.keys()
    assert model.fingerprint == models[name].fingerprint
    assert is_identical(model, models[name])


def test_the_vaes_attention_may_have_linear_layers(load_weights, models):
    state = single_file("sd1", published("sd1"))
    flat = {k: v[:, :, 0, 0].contiguous() for k, v in state.items() if "mid.attn_1" in k and v.ndim == 4}
    assert len(flat) == 8
    assert is_identical(load_weights("sd1", state | flat), models["sd1"])


class ModelCheckpoint:
    """A class of Lightning, which is a dict key in the published files of Stable Diffusion 1.4 and 1.5."""


@pytest.mark.parametrize("old_zip", [True, False])
def test_a_ckpt_with_lightnings_classes_is_read_as_plain_weights(settings, models, tmp_path, monkeypatch, old_zip):
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = ModelCheckpoint
    monkeypatch.setattr(ModelCheckpoint, "__module__", module.__name__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    content = {
        "pytorch-lightning_version": "1.4.2",
        "callbacks": {ModelCheckpoint: {"best_model_score": np.float64(0.5), "best_model_path": "x"}},
        "state_dict": single_file("sd1", published("sd1"), ema=True),
    }
    torch.save(content, tmp_path / "m.ckpt", _use_new_zipfile_serialization=old_zip)
    monkeypatch.delitem(sys.modules, module.__name__)
    assert is_identical(load(str(tmp_path / "m.ckpt"), config=str(settings["sd1"])), models["sd1"])
    assert module.__name__ not in sys.modules


def test_a_ckpt_with_code_is_refused_and_nothing_runs(settings, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": {"x": Evil()}}, tmp_path / "zip.ckpt")
    (tmp_path / "bare.ckpt").write_bytes(pickle.dumps(Evil()))
    for name in ("zip.ckpt", "bare.ckpt"):
        with pytest.raises(UserError, match="contains code, which is never run"):
            load(str(tmp_path / name), config=str(settings["sd1"]))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_half_precision_file_is_loaded_in_model_dtype(load_weights, dtype):
    state = {key: value.half() for key, value in single_file("sdxl", published("sdxl")).items()}
    model = load_weights("sdxl", state, dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    assert model.vae.dtype == (torch.float32 if dtype == "float16" else torch.bfloat16)


def test_the_tokenizers_of_a_file_are_loaded_without_any_module(settings, tmp_path, monkeypatch):
    path = saved("sdxl", tmp_path / "m.safetensors")
    monkeypatch.setattr("torch.nn.Module.__init__", None)
    assert load_tokenizers(path, config=str(settings["sdxl"])).keys() == {"clip_l", "clip_g"}


def test_a_file_without_a_vae_needs_model_vae(load_weights, folders, models):
    state = {k: v for k, v in single_file("sd1", published("sd1")).items() if not k.startswith("first_stage_model.")}
    with pytest.raises(UserError, match=r"model\.vae=null: .* contains no VAE. Set model\.vae"):
        load_weights("sd1", state)
    assert is_identical(load_weights("sd1", state, vae=str(folders["sd1"])), models["sd1"])


# --- refused files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"model.diffusion_model.input_blocks.0.0.weight": (8, 9, 3, 3)}, "an inpainting model"),
        ({"model.diffusion_model.input_blocks.0.0.weight": (8, 8, 3, 3)}, "an image editing model"),
        ({"model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale": (4,)}, "of another kind"),
        ({"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 4)}, "this is a LoRA"),
        ({"unet.down_blocks.0.attentions.0.proj_in.lora.down.weight": (4, 4)}, "this is a LoRA"),
        ({"<cat-toy>": (1, 32)}, r"embedding\.init_file"),
        ({"emb_params": (2, 32)}, r"embedding\.init_file"),
        ({"clip_l": (1, 32), "clip_g": (1, 48)}, r"embedding\.init_file"),
        (dict.fromkeys(["encoder.conv_in.weight", *"abcdefghijklmnopqrst"], (1,)), r"belongs in model\.vae"),
        (dict.fromkeys(["conv_in.weight", *"abcdefghijklmnopqrst"], (1,)), "the folder of the whole pipeline"),
        (dict.fromkeys("abcdefghijklmnopqrstuvwxyz", (1,)), r"without model\.diffusion_model"),
    ],
)
def test_files_of_other_kinds_are_refused_by_the_names_of_their_tensors(load_weights, shapes, message):
    with pytest.raises(UserError, match=message):
        load_weights("sd1", {name: torch.zeros(shape) for name, shape in shapes.items()})


@pytest.mark.parametrize(
    ("name", "added", "removed", "message"),
    [
        ("sdxl", (), "conditioner.embedders.0.", "the refiner of SDXL"),
        ("sd1", (), "cond_stage_model.", "has no text encoder"),
        ("sd1", ("model.diffusion_model.time_embed.cond_proj.weight",), None, r"\(LCM\)"),
        ("sd1", ("control_model.zero_convs.0.0.weight",), None, "a ControlNet"),
        ("sdxl", ("edm_mean", "edm_std"), None, "of another kind"),
        ("sdxl", ("v_pred",), None, r"predicts epsilon, but .* v_prediction"),
    ],
)
def test_relatives_of_stable_diffusion_are_named(load_weights, name, added, removed, message):
    state = single_file(name, published(name))
    state = {key: value for key, value in state.items() if not removed or not key.startswith(removed)}
    if message.startswith("the refiner"):
        state = {key.replace("embedders.1.", "embedders.0."): value for key, value in state.items()}
    with pytest.raises(UserError, match=message):
        load_weights(name, state | {key: torch.zeros(1) for key in added})


def test_configurations_of_another_model_are_refused(settings, tmp_path):
    path = saved("sd1", tmp_path / "m.safetensors")
    with pytest.raises(UserError, match=r"model\.config=.*configurations of Stable Diffusion XL, but .* 1 or 2"):
        load(path, config=str(settings["sdxl"]))
    with pytest.raises(UserError, match="cannot be loaded"):
        load(path, config=str(settings["sd2"]))


def test_without_a_network_the_missing_configurations_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"model\.config=stable-diffusion-v1-5/.*neither .* nor .* cache"):
        load(saved("sd1", tmp_path / "m.safetensors"))
    with pytest.raises(UserError, match=r"model\.config=null: .* does not say what it predicts. Set model\.config"):
        load(saved("sd2", tmp_path / "n.safetensors"))


@pytest.mark.parametrize("cut", [0, 5, 1000])
def test_a_truncated_file_is_named(tmp_path, cut):
    saved("sd1", tmp_path / "m.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "m.safetensors").read_bytes()[:cut])
    torch.save({"x": torch.zeros(3)}, tmp_path / "m.ckpt")
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "m.ckpt").read_bytes()[: min(cut, 400)])
    for name in ("cut.safetensors", "cut.ckpt"):
        with pytest.raises(UserError, match=rf"{name}: (broken|not a \.safetensors|cannot be read)"):
            load(str(tmp_path / name), config="not-looked-at")


@pytest.mark.parametrize(
    "missing",
    [
        "model.diffusion_model.out.2.bias",
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias",
        "conditioner.embedders.1.model.text_projection",
    ],
)
def test_a_missing_weight_is_never_made_up(load_weights, missing):
    state = single_file("sdxl", published("sdxl"))
    del state[missing]
    with pytest.raises(UserError, match=r"model\.pretrained=.*: the (unet|text_encoder|text_encoder_2) lacks some"):
        load_weights("sdxl", state)
