"""Every published layout loads, to the last bit as it was saved."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.published import LAYOUTS, SIDE, published, same, save
from tinv.errors import UserError
from tinv.models import STABLE_DIFFUSION, STABLE_DIFFUSION_XL, load, load_tokenizers

PARTS = ("text_encoder", "text_encoder_2", "unet", "vae")
ENCODERS = {"sd1": {"clip_l": 32}, "sd2": {"clip_h": 1024}, "sdxl": {"clip_l": 32, "clip_g": 48}}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_family_is_told_by_the_files(models, name):
    model = models[name]
    assert model.family is (STABLE_DIFFUSION_XL if name == "sdxl" else STABLE_DIFFUSION)
    assert {encoder: table.shape[1] for encoder, table in model.tables.items()} == ENCODERS[name]
    assert model.tokenizers.keys() == model.tables.keys()
    assert model.schedule.prediction_type == ("v_prediction" if name == "sd2" else "epsilon")
    assert model.resolution == SIDE


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_loaded_model_is_the_saved_one_to_the_last_bit(models, name):
    for part in PARTS:
        if hasattr(models[name], part):
            saved, loaded = getattr(published(name), part).state_dict(), getattr(models[name], part).state_dict()
            assert saved.keys() == loaded.keys()
            assert all(torch.equal(saved[key], loaded[key]) for key in saved)


@pytest.mark.parametrize(("name", "sharded"), [("sd1", False), ("sd1", True), ("sd2", False), ("sdxl", True)])
def test_a_variant_reaches_every_part(folders, models, tmp_path, name, sharded):
    """The plain weights beside it are spoiled, so that a part which took them would show."""
    pipeline = copy.deepcopy(published(name)).to(torch.float16)
    folder = save(pipeline, tmp_path / "m", variant="fp16", **({"max_shard_size": "60KB"} if sharded else {}))
    for weights in folders[name].rglob("*.safetensors"):
        spoiled = {key: torch.zeros_like(value) for key, value in load_file(weights).items()}
        save_file(spoiled, folder / weights.relative_to(folders[name]), metadata={"format": "pt"})
    assert sharded == any("-of-" in path.name for path in (folder / "unet").iterdir())
    loaded = load(str(folder), variant="fp16")
    for part in PARTS:
        if hasattr(loaded, part):
            kept = getattr(models[name], part).state_dict()
            halves = getattr(loaded, part).state_dict()
            assert all(torch.equal(value, kept[key].half().float()) for key, value in halves.items())
    assert {parameter.dtype for parameter in [*loaded.parameters(), *loaded.vae.parameters()]} == {torch.float32}


def test_a_variant_that_is_not_there_is_named_with_those_that_are(folders):
    with pytest.raises(UserError, match=r"come as null, not as fp16; set model\.variant"):
        load(str(folders["sd1"]), variant="fp16")


@pytest.mark.parametrize("name", LAYOUTS)
def test_padding_is_each_tokenizers_own(models, name):
    pads = {encoder: words.pad_token for encoder, words in models[name].tokenizers.items()}
    assert pads == {encoder: "<|endoftext|>" if encoder == "clip_l" else "!" for encoder in ENCODERS[name]}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_tokenizers_are_had_without_the_weights(folders, models, name, monkeypatch):
    monkeypatch.setattr("torch.nn.Module.__init__", None)
    words = load_tokenizers(str(folders[name]))
    assert {encoder: found.get_vocab() for encoder, found in words.items()} == {
        encoder: found.get_vocab() for encoder, found in models[name].tokenizers.items()
    }


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_names_of_weights_as_they_were_in_2022_are_understood(folders, models, tmp_path, name):
    """`text_model.` in CLIPTextModel, its buffer of positions, and the VAE's attention before it was renamed."""
    folder = save(published(name), tmp_path / "m")
    for part, rename in (("text_encoder", text_of_2022), ("vae", vae_of_2022)):
        (file,) = (folder / part).glob("*.safetensors")
        save_file(rename(load_file(file)), file, metadata={"format": "pt"})
    assert same(load(str(folder)), models[name])


def text_of_2022(state):
    moved = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in state.items()}
    return moved | {"text_model.embeddings.position_ids": torch.arange(77)[None]}


def vae_of_2022(state):
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for ours, theirs in names.items():
        state = {name.replace(ours, theirs) if "attentions" in name else name: v for name, v in state.items()}
    assert "encoder.mid_block.attentions.0.proj_attn.weight" in state
    return state


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder_2"])
def test_a_missing_weight_is_never_made_up(folders, tmp_path, part):
    folder = save(published("sdxl"), tmp_path / "m")
    (file,) = (folder / part).glob("*.safetensors")
    state = load_file(file)
    del state[gone := sorted(state)[0]]
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=rf"the {part} of .* lacks 1 of its weights \({gone}\)"):
        load(str(folder))
