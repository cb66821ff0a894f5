"""The files of every program are read bit for bit, by their content and not by their suffix."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.formats import foreign
from tests.formats.foreign import FILES, ForeignFile, G, L, pickled, saved
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding, encoder_of_width, identify, read, read_all

WIDTHS = {768: "clip_l", 1024: "clip_h", 1280: "clip_g", 2304: "gemma", 3584: "qwen2_5_vl", 4096: "t5", 32: "clip_l"}


def same(embeddings: list[LearnedEmbedding], made: ForeignFile) -> bool:
    """Returns whether these are the embeddings of the file, bit for bit and in memory of their own."""
    for embedding in embeddings:
        for vectors_KD in embedding.vectors.values():
            assert (vectors_KD.dtype, vectors_KD.ndim, vectors_KD.device.type) == (torch.float32, 2, "cpu")
            assert vectors_KD.is_contiguous() and not vectors_KD.requires_grad
            assert vectors_KD.untyped_storage().nbytes() == 4 * vectors_KD.numel()
    result = {embedding.placeholder_token: embedding.vectors for embedding in embeddings}
    return result.keys() == made.vectors.keys() and all(
        result[token].keys() == by_encoder.keys()
        and all(torch.equal(result[token][encoder], vectors_KD) for encoder, vectors_KD in by_encoder.items())
        for token, by_encoder in made.vectors.items()
    )


@pytest.mark.filterwarnings("ignore:.*which only OneTrainer uses", "ignore:.*the first of")
@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_files_of_other_programs_are_read_bit_for_bit(tmp_path: Path, make: Callable[[Path], ForeignFile]) -> None:
    made = make(tmp_path / "x")
    embeddings = read_all(made.path)
    assert same(embeddings, made)
    assert all(embedding.provenance == made.provenance for embedding in embeddings)


@pytest.mark.filterwarnings("ignore:.*which only OneTrainer uses", "ignore:.*the first of")
@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_the_suffix_of_a_file_does_not_matter(tmp_path: Path, make: Callable[[Path], ForeignFile]) -> None:
    made = make(tmp_path / "x")
    if made.path.is_file() and made.path.name != "learned_embeds.safetensors":
        for suffix in (".safetensors", ".png", ""):
            renamed = made.path.with_name(f"{made.path.stem}-renamed{suffix}")
            shutil.copy(made.path, renamed)
            encoders = [by_encoder.keys() for by_encoder in made.vectors.values()]
            assert [embedding.vectors.keys() for embedding in read_all(renamed)] == encoders


@pytest.mark.parametrize(
    ("make", "layout"),
    [
        (foreign.diffusers, "diffusers"),
        (foreign.a1111_legacy, "AUTOMATIC1111"),
        (foreign.png_pixels, "AUTOMATIC1111"),
        (foreign.kohya, "emb_params"),
        (foreign.onetrainer, "emb_params"),
        (foreign.onetrainer_sd3, "a tensor for each text encoder"),
        (foreign.concept_prism_flux, "ConceptPrism"),
        (foreign.lora_bundle, "bundled in a LoRA"),
        (foreign.cog_sdxl, "pivotal tuning"),
        (foreign.list_of_encoders, "list of encoders"),
    ],
)
def test_a_layout_is_identified(tmp_path: Path, make: Callable[[Path], ForeignFile], layout: str) -> None:
    assert identify(make(tmp_path).path).layout == layout


@pytest.mark.parametrize(("width", "encoder"), WIDTHS.items())
def test_the_width_decides_which_encoder_the_vectors_are_for(tmp_path: Path, width: int, encoder: str) -> None:
    assert encoder_of_width(width) == encoder
    save_file({"<cat>": torch.ones(1, width)}, tmp_path / "cat.safetensors")
    embedding = read(tmp_path / "cat.safetensors")
    assert (list(embedding.vectors), embedding.has_guessed_encoders) == ([encoder], True)


def test_the_metadata_of_a_file_overrules_the_width(tmp_path: Path) -> None:
    file = saved(tmp_path / "cat.safetensors", {"<cat>": foreign.T5}, {"text_encoder": "umt5"})
    assert (list(read(file).vectors), read(file).has_guessed_encoders, read(file).provenance) == (["umt5"], False, {})
    saved(file, {"<cat>": foreign.T5}, {"text_encoder": "../x"})
    assert list(read(file).vectors) == ["t5"]


def test_several_tokens_in_a_file_are_listed_where_one_is_needed(tmp_path: Path) -> None:
    file = foreign.two_tokens(tmp_path).path
    with pytest.raises(UserError, match=r"holds 2 tokens \(<cat>, <dog>\), one is needed"):
        read(file)
    with pytest.raises(UserError, match=r"holds 2 tokens \(<cat>, <dog>\); token can name only one"):
        read_all(file, token="<cow>")


def test_the_caller_can_name_the_token(tmp_path: Path) -> None:
    assert read(foreign.kohya(tmp_path).path, token="<my-cat>").placeholder_token == "<my-cat>"
    with pytest.raises(UserError, match="cannot be typed in a prompt"):
        read(foreign.kohya(tmp_path).path, token=" ")


def test_the_token_is_the_file_name_only_if_nothing_else_names_it(tmp_path: Path) -> None:
    file = saved(tmp_path / "cat 5.safetensors", {"emb_params": L})
    assert read(file).placeholder_token == "cat-5"
    (tmp_path / "token_identifier.txt").write_text("<cat-toy>\n")
    assert read(file).placeholder_token == "<cat-toy>"
    saved(file, {"emb_params": L}, {"modelspec.trigger_phrase": "a phrase of several"})
    assert read(file).placeholder_token == "<cat-toy>"
    saved(file, {"emb_params": L}, {"modelspec.trigger_phrase": "trigger"})
    assert read(file).placeholder_token == "trigger"
    saved(file, {"emb_params": L}, {"modelspec.trigger_phrase": "trigger", "placeholder_token": "<own>"})
    assert read(file).placeholder_token == "<own>"


@pytest.mark.parametrize("token", ["a\nb", "\x1b[31mred", "x" * 500, " "])
def test_a_token_that_cannot_be_typed_is_refused_and_safe_to_print(tmp_path: Path, token: str) -> None:
    saved(tmp_path / "x.safetensors", {token: L})
    with pytest.raises(UserError, match="cannot be typed in a prompt; give another with token") as caught:
        read(tmp_path / "x.safetensors")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_either_file_of_a_pair_or_its_folder_gives_both_encoders(tmp_path: Path) -> None:
    first = foreign.diffusers_pair(tmp_path).path
    steps = [tmp_path / f"learned_embeds{suffix}-steps-500.safetensors" for suffix in ("", "_2")]
    for path, vectors_KD in zip(steps, (L, G), strict=True):
        saved(path, {"<cat-toy>": vectors_KD})
    for path in (first, tmp_path / "learned_embeds_2.safetensors", tmp_path, *steps):
        assert set(read(path).vectors) == {"clip_l", "clip_g"}


def test_the_second_file_of_a_pair_is_for_the_second_encoder_at_any_width(tmp_path: Path) -> None:
    saved(tmp_path / "learned_embeds.safetensors", {"<cat>": torch.ones(1, 32)})
    saved(tmp_path / "learned_embeds_2.safetensors", {"<cat>": torch.ones(1, 32)})
    assert set(read(tmp_path).vectors) == {"clip_l", "clip_g"}


def test_files_with_the_names_of_a_pair_but_other_content_are_separate(tmp_path: Path) -> None:
    first = saved(tmp_path / "cat.safetensors", {"<cat>": L})
    saved(tmp_path / "cat_2.safetensors", {"<cat>": L})
    assert set(read(first).vectors) == set(read(tmp_path / "cat_2.safetensors").vectors) == {"clip_l"}
    (tmp_path / "cat_2.safetensors").write_text("some notes on the second cat")
    assert set(read(first).vectors) == {"clip_l"}
    saved(tmp_path / "cat_2.safetensors", {"<cat>": G})
    assert set(read(first).vectors) == {"clip_l", "clip_g"}


def test_every_file_of_an_embedding_gives_all_text_encoders(tmp_path: Path) -> None:
    folder = foreign.dti_sd3(tmp_path).path
    for path in (folder, *folder.iterdir()):
        assert list(read(path).vectors) == ["clip_l", "clip_g", "t5"]
    (folder / "learned_embeds_2.safetensors").unlink()
    assert list(read(folder).vectors) == ["clip_l"], "a gap: they are not numbered as the encoders of a pipeline"


def test_the_target_of_concept_prism_is_taken_without_the_residuals(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="took the first of 6 vectors, the target"):
        assert read(foreign.concept_prism_flux(tmp_path).path, token="<cat>").placeholder_token == "<cat>"


def test_files_of_a_pair_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    first = foreign.diffusers_pair(tmp_path).path
    second = tmp_path / "learned_embeds_2.safetensors"
    saved(second, {"<cat-toy>": foreign.rows(1280, 3)})
    with pytest.raises(UserError, match="2 and 3 vectors; is one of them from an older run"):
        read(first)
    second.write_bytes(second.read_bytes()[:500])
    with pytest.raises(UserError, match=r"learned_embeds_2\.safetensors is a broken safetensors file"):
        read(first)
    saved(second, {"<other>": G})
    assert set(read(first).vectors) == {"clip_l"}


def test_a_folder_is_read_by_the_usual_file_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no learned_embeds\.safetensors"):
        read(tmp_path)
    pickled(tmp_path / "learned_embeds.bin", {"<old>": L})
    assert read(tmp_path).placeholder_token == "<old>"
    saved(tmp_path / "learned_embeds.safetensors", {"<new>": L})
    assert read(tmp_path).placeholder_token == "<new>"


def test_an_output_embedding_is_left_out_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="left out clip_g_out, which only OneTrainer uses"):
        read(foreign.onetrainer_output(tmp_path).path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(foreign.onetrainer(tmp_path).path)


def test_the_file_of_a_negative_must_hold_one_token(tmp_path: Path) -> None:
    saved(tmp_path / "cat.safetensors", {"<cat>": L}, {"negative": "<cat-neg>"})
    saved(tmp_path / "cat-neg.safetensors", {"<cat-neg>": L, "<dog>": L})
    with pytest.raises(UserError, match=r"cat-neg\.safetensors holds 2 tokens, but beside cat\.safetensors it must"):
        read(tmp_path / "cat.safetensors")
