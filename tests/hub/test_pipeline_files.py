"""The files that are selected from published listings."""

import re

import pytest

from tinv.errors import UserError
from tinv.hub.pipeline_files import select_component_files, select_config_files, select_pipeline_files

SD15 = """
.gitattributes README.md model_index.json v1-5-pruned.ckpt v1-5-pruned.safetensors v1-5-pruned-emaonly.safetensors
v1-inference.yaml feature_extractor/preprocessor_config.json safety_checker/config.json
safety_checker/model.safetensors safety_checker/pytorch_model.bin scheduler/scheduler_config.json
text_encoder/config.json text_encoder/model.safetensors text_encoder/model.fp16.safetensors
text_encoder/pytorch_model.bin text_encoder/pytorch_model.fp16.bin text_encoder/flax_model.msgpack
tokenizer/merges.txt tokenizer/special_tokens_map.json tokenizer/tokenizer_config.json tokenizer/vocab.json
unet/config.json unet/diffusion_pytorch_model.safetensors unet/diffusion_pytorch_model.fp16.safetensors
unet/diffusion_pytorch_model.non_ema.safetensors unet/diffusion_pytorch_model.bin unet/model.onnx
unet/diffusion_pytorch_model.fp16.bin unet/diffusion_pytorch_model.non_ema.bin vae/config.json
vae/diffusion_pytorch_model.safetensors vae/diffusion_pytorch_model.fp16.safetensors vae/diffusion_pytorch_model.bin
""".split()
SETTINGS = set(
    """
model_index.json scheduler/scheduler_config.json text_encoder/config.json tokenizer/merges.txt
tokenizer/special_tokens_map.json tokenizer/tokenizer_config.json tokenizer/vocab.json unet/config.json vae/config.json
""".split()
)
LISTING = dict.fromkeys(SD15, 1)
COMPONENTS = ("tokenizer", "text_encoder", "unet", "vae", "scheduler")


@pytest.mark.parametrize(("variant", "suffix"), [(None, ""), ("fp16", ".fp16")])
def test_weights_are_selected_once_as_safetensors_of_the_variant(variant, suffix):
    stems = ("text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model")
    weights = {f"{stem}{suffix}.safetensors" for stem in stems}
    assert set(select_pipeline_files(LISTING, variant=variant, components=COMPONENTS)) == SETTINGS | weights


def test_a_missing_variant_is_reported_with_the_existing_ones():
    with pytest.raises(UserError, match=r"text_encoder exist as fp16, null, not as non_ema"):
        select_pipeline_files(LISTING, variant="non_ema", components=COMPONENTS)


def test_old_repositories_without_safetensors_have_bin_files():
    old = {name: 1 for name in SD15 if not name.endswith(".safetensors")}
    folders = {"text_encoder": "pytorch_model", "unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
    weights = {f"{folder}/{stem}.bin" for folder, stem in folders.items()}
    assert set(select_pipeline_files(old, variant=None, components=COMPONENTS)) - SETTINGS == weights


@pytest.mark.parametrize(
    ("variant", "shards", "index"),
    [
        (None, "-0000{}-of-00002.safetensors", ".safetensors.index.json"),
        ("fp16", "-0000{}-of-00002.fp16.safetensors", ".safetensors.index.fp16.json"),
        ("fp16", ".fp16-0000{}-of-00002.safetensors", ".safetensors.index.fp16.json"),
    ],
)
@pytest.mark.parametrize("stem", ["model", "diffusion_pytorch_model"])
def test_all_shards_are_selected_with_their_index(variant, shards, index, stem):
    expected = [f"{stem}{name}" for name in (shards.format(1), shards.format(2), index)]
    others = [f"{stem}-00001-of-00003.bin", f"{stem}.bf16.safetensors", f"{stem}.bin.index.json"]
    assert select_component_files(["config.json", *others, *expected], variant=variant) == ["config.json", *expected]


def test_the_chat_template_of_a_tokenizer_is_selected():
    listing = {**LISTING, "tokenizer/chat_template.jinja": 1}
    assert "tokenizer/chat_template.jinja" in select_config_files(listing)


def test_the_tokenizer_can_be_selected_alone():
    chosen = select_pipeline_files(LISTING, variant="fp16", components=("tokenizer",))
    assert {name.partition("/")[0] for name in chosen} == {"model_index.json", "tokenizer"}


def test_a_repository_that_is_no_pipeline_is_refused():
    with pytest.raises(UserError, match=r"no model_index\.json"):
        select_pipeline_files({"config.json": 1}, variant=None, components=COMPONENTS)
    with pytest.raises(UserError, match="has no unet"):
        without = {name: 1 for name in SD15 if not name.startswith("unet/")}
        select_pipeline_files(without, variant=None, components=COMPONENTS)


def test_flax_weights_alone_are_recognized():
    names = [
        re.sub(r"/(model|pytorch_model|diffusion_pytorch_model)\..*", "/flax_model.msgpack", name) for name in SD15
    ]
    with pytest.raises(UserError, match=r"Flax weights only \(text_encoder/.*msgpack\)"):
        select_pipeline_files(dict.fromkeys(names, 1), variant=None, components=COMPONENTS)
