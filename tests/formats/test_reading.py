"""Every program's files give the rows that are in them, to the last bit, by content and never by extension."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.formats import foreign
from tests.formats.foreign import FILES, Foreign, G, L, pickled, saved
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding, encoder_of_width, read, read_all, recognise


def same(learned: list[LearnedEmbedding], made: Foreign) -> bool:
    """Whether these are the words of the file, with vectors that are equal to the bit and nobody else's memory."""
    for word in learned:
        for rows_KD in word.vectors.values():
            assert (rows_KD.dtype, rows_KD.ndim, rows_KD.device.type) == (torch.float32, 2, "cpu")
            assert rows_KD.is_contiguous() and not rows_KD.requires_grad
            assert rows_KD.untyped_storage().nbytes() == 4 * rows_KD.numel()
    found = {word.placeholder_token: word.vectors for word in learned}
    return found.keys() == made.words.keys() and all(
        found[word].keys() == by_encoder.keys()
        and all(torch.equal(found[word][encoder], rows_KD) for encoder, rows_KD in by_encoder.items())
        for word, by_encoder in made.words.items()
    )


@pytest.mark.filterwarnings("ignore:.*left out, which only OneTrainer uses")
@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_the_words_of_other_programs_are_read_to_the_bit(tmp_path: Path, make: Callable[[Path], Foreign]) -> None:
    made = make(tmp_path / "x")
    learned = read_all(made.path)
    assert same(learned, made)
    assert all(word.provenance == made.provenance for word in learned)


@pytest.mark.filterwarnings("ignore:.*left out, which only OneTrainer uses")
@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_content_counts_not_the_extension(tmp_path: Path, make: Callable[[Path], Foreign]) -> None:
    made = make(tmp_path / "x")
    if made.path.is_file() and made.path.name != "learned_embeds.safetensors":
        for ending in (".safetensors", ".png", ""):
            moved = made.path.with_name(f"{made.path.stem}-moved{ending}")
            shutil.copy(made.path, moved)
            named = {(made.path.stem if word == moved.stem else word): rows for word, rows in made.words.items()}
            assert [word.vectors.keys() for word in read_all(moved)] == [rows.keys() for rows in named.values()]


@pytest.mark.parametrize(
    ("make", "layout"),
    [
        (foreign.diffusers, "diffusers"),
        (foreign.a1111_legacy, "AUTOMATIC1111"),
        (foreign.png_pixels, "AUTOMATIC1111"),
        (foreign.kohya, "emb_params"),
        (foreign.onetrainer, "emb_params"),
        (foreign.onetrainer_sd3, "sdxl"),
        (foreign.bundled, "bundled in a LoRA"),
        (foreign.cog_sdxl, "pivotal tuning"),
        (foreign.stacked, "list of encoders"),
    ],
)
def test_what_a_file_is_gets_a_name(tmp_path: Path, make: Callable[[Path], Foreign], layout: str) -> None:
    assert recognise(make(tmp_path).path).layout == layout


@pytest.mark.parametrize(("width", "encoder"), [(768, "clip_l"), (1024, "clip_h"), (1280, "clip_g"), (32, "clip_l")])
def test_the_width_says_which_encoder_the_vectors_are_for(tmp_path: Path, width: int, encoder: str) -> None:
    assert encoder_of_width(width) == encoder
    save_file({"<cat>": torch.ones(1, width)}, tmp_path / "cat.safetensors")
    assert list(read(tmp_path / "cat.safetensors").vectors) == [encoder]


def test_several_words_in_a_file_are_named_where_one_is_needed(tmp_path: Path) -> None:
    file = foreign.several(tmp_path).path
    with pytest.raises(UserError, match=r"holds 2 words \(<cat>, <dog>\), where one is needed"):
        read(file)
    with pytest.raises(UserError, match=r"holds 2 words \(<cat>, <dog>\); token can name only one"):
        read_all(file, token="<cow>")


def test_a_word_can_be_given_a_name(tmp_path: Path) -> None:
    assert read(foreign.kohya(tmp_path).path, token="<my-cat>").placeholder_token == "<my-cat>"
    with pytest.raises(UserError, match="no word for a prompt"):
        read(foreign.kohya(tmp_path).path, token=" ")


def test_the_word_is_the_files_name_only_where_nothing_else_tells_it(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("word", ["a\nb", "\x1b[31mred", "x" * 500, " "])
def test_a_word_that_cannot_be_typed_is_refused_and_safe_to_print(tmp_path: Path, word: str) -> None:
    saved(tmp_path / "x.safetensors", {word: L})
    with pytest.raises(UserError, match="no word for a prompt; give one with token") as caught:
        read(tmp_path / "x.safetensors")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_either_file_of_a_pair_and_its_folder_stand_for_both(tmp_path: Path) -> None:
    first = foreign.diffusers_pair(tmp_path).path
    for place in (first, tmp_path / "learned_embeds_2.safetensors", tmp_path):
        assert set(read(place).vectors) == {"clip_l", "clip_g"}
    for name in ("learned_embeds-steps-500.safetensors", "learned_embeds_2-steps-500.safetensors"):
        saved(tmp_path / name, {"<cat-toy>": G if "_2" in name else L})
    assert set(read(tmp_path / "learned_embeds-steps-500.safetensors").vectors) == {"clip_l", "clip_g"}
    assert set(read(tmp_path / "learned_embeds_2-steps-500.safetensors").vectors) == {"clip_l", "clip_g"}


def test_the_second_file_of_a_pair_is_the_second_encoders_whatever_its_width(tmp_path: Path) -> None:
    saved(tmp_path / "learned_embeds.safetensors", {"<cat>": torch.ones(1, 32)})
    saved(tmp_path / "learned_embeds_2.safetensors", {"<cat>": torch.ones(1, 32)})
    assert set(read(tmp_path).vectors) == {"clip_l", "clip_g"}


def test_files_that_are_only_called_like_a_pair_stay_alone(tmp_path: Path) -> None:
    first = saved(tmp_path / "cat.safetensors", {"<cat>": L})
    saved(tmp_path / "cat_2.safetensors", {"<cat>": L})
    assert set(read(first).vectors) == set(read(tmp_path / "cat_2.safetensors").vectors) == {"clip_l"}
    (tmp_path / "cat_2.safetensors").write_text("some notes on the second cat")
    assert set(read(first).vectors) == {"clip_l"}
    saved(tmp_path / "cat_2.safetensors", {"<cat>": G})
    assert set(read(first).vectors) == {"clip_l", "clip_g"}


def test_halves_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    first = foreign.diffusers_pair(tmp_path).path
    second = tmp_path / "learned_embeds_2.safetensors"
    saved(second, {"<cat-toy>": foreign.rows(1280, 3)})
    with pytest.raises(UserError, match="2 and 3 vectors; was one of them left by an older run"):
        read(first)
    second.write_bytes(second.read_bytes()[:500])
    with pytest.raises(UserError, match=r"learned_embeds_2\.safetensors is a broken safetensors file"):
        read(first)
    saved(second, {"<other>": G})
    assert set(read(first).vectors) == {"clip_l"}


def test_a_folder_stands_for_the_embedding_in_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no learned_embeds\.safetensors"):
        read(tmp_path)
    pickled(tmp_path / "learned_embeds.bin", {"<old>": L})
    assert read(tmp_path).placeholder_token == "<old>"
    saved(tmp_path / "learned_embeds.safetensors", {"<new>": L})
    assert read(tmp_path).placeholder_token == "<new>"


def test_what_is_left_out_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="clip_g_out left out, which only OneTrainer uses"):
        read(foreign.onetrainer_both(tmp_path).path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(foreign.onetrainer(tmp_path).path)
