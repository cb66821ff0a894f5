"""Every published layout loads bit-identically, and other tokenizers can replace the model's own."""

import copy
import re
import shutil

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from tests.models import original
from tests.models.published import LAYOUTS, WIDTHS, is_identical, published, save, save_tokenizer
from tests.tiny import RESOLUTION, tiny_tokenizer
from tinv.config.validate import CONF_DIR
from tinv.errors import UserError
from tinv.models import STABLE_DIFFUSION, STABLE_DIFFUSION_XL, load, load_tokenizers

PARTS = ("text_encoder", "text_encoder_2", "unet", "vae")


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_files_decide_the_family(models, name):
    model = models[name]
    assert model.family is (STABLE_DIFFUSION_XL if name == "sdxl" else STABLE_DIFFUSION)
    assert {encoder: table.shape[1] for encoder, table in model.tables.items()} == WIDTHS[name]
    pads = {role: tokenizer.pad_token for role, tokenizer in model.tokenizers.items()}
    assert pads == {role: "<|endoftext|>" if role == "clip_l" else "!" for role in WIDTHS[name]}
    assert model.noise_process.prediction_type == ("v_prediction" if name == "sd2" else "epsilon")
    assert model.resolution == RESOLUTION


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_loaded_model_is_bit_identical_to_the_saved_one(models, name):
    for part in PARTS:
        if hasattr(models[name], part):
            saved, loaded = getattr(published(name), part).state_dict(), getattr(models[name], part).state_dict()
            assert saved.keys() == loaded.keys()
            assert all(torch.equal(saved[key], loaded[key]) for key in saved)


@pytest.mark.parametrize(("name", "sharded"), [("sd1", False), ("sd1", True), ("sd2", False), ("sdxl", True)])
def test_a_variant_is_used_for_every_component(folders, models, tmp_path, name, sharded):
    """The plain weights beside it are zeros, so a component that used them would differ."""
    pipeline = copy.deepcopy(published(name)).to(torch.float16)
    folder = save(pipeline, tmp_path / "m", variant="fp16", **({"max_shard_size": "60KB"} if sharded else {}))
    for weights in folders[name].rglob("*.safetensors"):
        zeros = {key: torch.zeros_like(value) for key, value in load_file(weights).items()}
        save_file(zeros, folder / weights.relative_to(folders[name]), metadata={"format": "pt"})
    assert sharded == any("-of-" in path.name for path in (folder / "unet").iterdir())
    loaded = load(str(folder), variant="fp16")
    for part in PARTS:
        if hasattr(loaded, part):
            expected, state = getattr(models[name], part).state_dict(), getattr(loaded, part).state_dict()
            assert all(torch.equal(value, expected[key].half().float()) for key, value in state.items())
    assert {parameter.dtype for parameter in [*loaded.parameters(), *loaded.vae.parameters()]} == {torch.float32}


def test_a_missing_variant_is_named_with_those_that_exist(folders):
    with pytest.raises(UserError, match=r"exist as null, not as fp16; set model\.variant"):
        load(str(folders["sd1"]), variant="fp16")


@pytest.mark.parametrize("name", LAYOUTS)
def test_tokenizers_are_loaded_without_any_module(folders, models, name, monkeypatch):
    monkeypatch.setattr("torch.nn.Module.__init__", None)
    tokenizers = load_tokenizers(str(folders[name]))
    assert {role: tokenizer.get_vocab() for role, tokenizer in tokenizers.items()} == {
        role: tokenizer.get_vocab() for role, tokenizer in models[name].tokenizers.items()
    }


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_the_weight_names_of_2022_are_understood(folders, models, tmp_path, name):
    """`text_model.` in CLIPTextModel, its buffer of positions, and the VAE's attention before it was renamed."""
    folder = save(published(name), tmp_path / "m")
    for part, rename in (("text_encoder", original.hugging_face_text), ("vae", vae_of_2022)):
        (file,) = (folder / part).glob("*.safetensors")
        save_file(rename(load_file(file)), file, metadata={"format": "pt"})
    assert is_identical(load(str(folder)), models[name])


def vae_of_2022(state):
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for ours, theirs in names.items():
        state = {name.replace(ours, theirs) if "attentions" in name else name: v for name, v in state.items()}
    assert "encoder.mid_block.attentions.0.proj_attn.weight" in state
    return state


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder_2"])
def test_a_missing_weight_is_an_error(folders, tmp_path, part):
    folder = save(published("sdxl"), tmp_path / "m")
    (file,) = (folder / part).glob("*.safetensors")
    state = load_file(file)
    del state[missing := sorted(state)[0]]
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=rf"the {part} lacks 1 of its weights \({missing}\)"):
        load(str(folder))


def test_a_folder_without_weights_is_refused(settings):
    with pytest.raises(UserError, match=r"cannot be loaded .*Is it complete"):
        load(str(settings["sd1"]))


def test_tokens_that_the_text_encoder_does_not_have_are_refused(folders, tmp_path):
    """Their ids would be read as those of learned tokens."""
    folder = shutil.copytree(folders["sd1"], tmp_path / "m")
    tokenizer = tiny_tokenizer.__wrapped__()
    tokenizer.add_tokens(["<left-over>"])
    shutil.rmtree(folder / "tokenizer")
    tokenizer.save_pretrained(folder / "tokenizer")
    with pytest.raises(UserError, match=r"has 621 tokens, but the text encoder 620"):
        load_tokenizers(str(folder))


def test_tokenizers_can_come_from_another_folder(folders, tmp_path):
    save_tokenizer(published("sd2").tokenizer, tmp_path / "alone")
    assert load(str(folders["sd1"])).tokenizer.pad_token == "<|endoftext|>"
    for path in (tmp_path / "alone", folders["sd2"]):
        assert load(str(folders["sd1"]), tokenizer=str(path)).tokenizer.pad_token == "!"
        assert load_tokenizers(str(folders["sd1"]), tokenizer=str(path))["clip_l"].pad_token == "!"
    assert load(str(folders["sdxl"]), tokenizer=str(folders["sdxl"])).tokenizer_2.pad_token == "!"


@pytest.mark.parametrize(
    ("name", "tokenizer", "message"),
    [
        ("sdxl", "{tmp_path}/alone", "Stable Diffusion XL needs 2 tokenizers, this is one"),
        ("sd1", "{tmp_path}", "has no complete tokenizer"),
        ("sd1", "./missing", "no such folder or file"),
    ],
)
def test_an_unsuitable_tokenizer_is_refused(folders, tmp_path, name, tokenizer, message):
    save_tokenizer(published("sd2").tokenizer, tmp_path / "alone")
    with pytest.raises(UserError, match=rf"model\.tokenizer=.*{message}"):
        load_tokenizers(str(folders[name]), tokenizer=tokenizer.format(tmp_path=tmp_path))


@pytest.mark.parametrize("missing", ["vocab.json", "merges.txt"])
def test_an_incomplete_tokenizer_is_refused(settings, tmp_path, missing):
    folder = shutil.copytree(settings["sdxl"], tmp_path / "m")
    (folder / "tokenizer_2" / missing).unlink()
    with pytest.raises(UserError, match=r"model\.pretrained=.*tokenizer_2 has no complete tokenizer"):
        load_tokenizers(str(folder))


@pytest.mark.parametrize("name", ["sd14", "sd15", "sd21", "sdxl"])
def test_the_revision_of_every_published_model_is_a_commit(name):
    assert re.fullmatch(r"[0-9a-f]{40}", OmegaConf.load(CONF_DIR / "model" / f"{name}.yaml").revision)


@pytest.mark.parametrize("setting", ["revision", "config"])
def test_a_setting_without_effect_is_warned_of(folders, setting):
    with pytest.warns(UserWarning, match=rf"model\.{setting}=elsewhere is ignored: .*sd1"):
        load_tokenizers(str(folders["sd1"]), **{setting: "elsewhere"})
