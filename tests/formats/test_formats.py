"""What is written is read back, by us and by diffusers; what is no embedding is refused in one sentence."""

import os
import re
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import save_file

from tests.tiny import tiny_pipeline
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding, encoder_of_width, read, write

PROVENANCE = {"base_model": "pkg://tinv/toybox/pipeline", "steps": "300", "seed": "0", "kind": "object"}


def learned(num_vectors: int = 2, width: int = 8) -> LearnedEmbedding:
    rows = torch.randn(num_vectors, width, generator=torch.Generator().manual_seed(0))
    return LearnedEmbedding("<cat-toy>", {"clip_l": rows}, PROVENANCE)


@pytest.mark.parametrize("num_vectors", [1, 4])
def test_what_is_written_is_read_back_to_the_last_bit(tmp_path: Path, num_vectors: int) -> None:
    before = learned(num_vectors)
    write(tmp_path / "learned.safetensors", before)
    after = read(tmp_path / "learned.safetensors")
    assert after.placeholder == before.placeholder
    assert after.provenance == PROVENANCE
    assert torch.equal(after.vectors["clip_l"], before.vectors["clip_l"])


def test_the_file_has_the_layout_and_metadata_of_diffusers(tmp_path: Path) -> None:
    write(tmp_path / "learned.safetensors", learned())
    with safe_open(tmp_path / "learned.safetensors", framework="pt") as file:
        assert list(file.keys()) == ["<cat-toy>"]
        assert file.get_tensor("<cat-toy>").shape == (2, 8)
        assert file.get_tensor("<cat-toy>").dtype == torch.float32
        assert file.metadata() == {"format": "pt", **PROVENANCE}
    assert (tmp_path / "learned.safetensors").stat().st_size < 4096


def test_files_honour_the_umask_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "learned.safetensors", learned())
    finally:
        os.umask(before)
    assert (tmp_path / "learned.safetensors").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["learned.safetensors"]


def test_the_word_of_a_file_is_the_word_of_the_real_loader(tmp_path: Path) -> None:
    folder = tiny_pipeline(tmp_path / "pipeline")
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, dtype=torch.float32)
    width = pipeline.text_encoder.get_input_embeddings().embedding_dim
    before = learned(2, width)
    write(tmp_path / "learned.safetensors", before)
    pipeline.load_textual_inversion(str(tmp_path / "learned.safetensors"))
    ids = pipeline.tokenizer.convert_tokens_to_ids(["<cat-toy>", "<cat-toy>_1"])
    rows = pipeline.text_encoder.get_input_embeddings().weight[ids]
    assert torch.equal(rows, before.vectors["clip_l"])


@pytest.mark.parametrize("shape", [(8,), (1, 8), (3, 8)])
def test_the_older_bin_files_are_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape)
    torch.save({"<cat-toy>": tensor}, tmp_path / "learned_embeds.bin")
    after = read(tmp_path / "learned_embeds.bin")
    assert after.placeholder == "<cat-toy>"
    assert torch.equal(after.vectors["clip_l"], tensor.reshape(-1, 8))


@pytest.mark.parametrize(("width", "encoder"), [(768, "clip_l"), (1024, "clip_h"), (1280, "clip_g"), (32, "clip_l")])
def test_the_width_says_which_encoder_the_vectors_are_for(tmp_path: Path, width: int, encoder: str) -> None:
    assert encoder_of_width(width) == encoder
    save_file({"<cat>": torch.ones(1, width)}, tmp_path / "cat.safetensors")
    assert list(read(tmp_path / "cat.safetensors").vectors) == [encoder]


def test_content_counts_not_the_extension(tmp_path: Path) -> None:
    write(tmp_path / "learned.bin", learned())
    torch.save({"<other>": torch.randn(8)}, tmp_path / "other.safetensors")
    assert read(tmp_path / "learned.bin").placeholder == "<cat-toy>"
    assert read(tmp_path / "other.safetensors").placeholder == "<other>"


def test_a_folder_stands_for_the_embedding_in_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no learned_embeds\.safetensors"):
        read(tmp_path)
    torch.save({"<old>": torch.randn(8)}, tmp_path / "learned_embeds.bin")
    assert read(tmp_path).placeholder == "<old>"
    write(tmp_path / "learned_embeds.safetensors", learned())
    assert read(tmp_path).placeholder == "<cat-toy>"


def test_half_precision_files_give_float32_rows(tmp_path: Path) -> None:
    save_file({"<cat>": torch.ones(1, 8, dtype=torch.float16)}, tmp_path / "half.safetensors")
    assert read(tmp_path / "half.safetensors").vectors["clip_l"].dtype == torch.float32


class Evil:
    """What a malicious pickle would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


def foreign_files(folder: Path) -> dict[str, str]:
    """Files that are no embedding, and what the refusal must say of each."""
    write(folder / "whole.safetensors", learned(16, 64))
    whole = (folder / "whole.safetensors").read_bytes()
    torch.save({"<cat>": torch.randn(64, 64)}, folder / "whole.bin")
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "cut_in_header.safetensors").write_bytes(whole[:40])
    (folder / "cut.bin").write_bytes((folder / "whole.bin").read_bytes()[:9000])
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "page.safetensors").write_text("<!DOCTYPE html><html><body>404</body></html>")
    (folder / "notes.bin").write_text("a text of some length that is no embedding at all")
    torch.save({"<cat>": Evil()}, folder / "code.bin")
    torch.save([torch.ones(8)], folder / "list.bin")
    save_file({"unet.lora_up.weight": torch.ones(2, 2)}, folder / "lora.safetensors")
    save_file({f"layer.{i}.weight": torch.ones(2) for i in range(80)}, folder / "model.safetensors")
    torch.save({"state_dict": {}, "global_step": 3}, folder / "step_000003.ckpt")
    save_file({"<a>": torch.ones(1, 8), "<b>": torch.ones(1, 8)}, folder / "two.safetensors")
    save_file({"emb_params": torch.ones(1, 8)}, folder / "kohya.safetensors")
    save_file({"clip_l": torch.ones(1, 8), "clip_g": torch.ones(1, 12)}, folder / "sdxl.safetensors")
    save_file({"<cat>": torch.full((1, 8), float("nan"))}, folder / "nan.safetensors")
    save_file({"<cat>": torch.ones(1, 8, 3)}, folder / "cube.safetensors")
    save_file({"<cat>": torch.ones(2, 8, dtype=torch.int64)}, folder / "ids.safetensors")
    return {
        "cut.safetensors": "broken safetensors file",
        "cut_in_header.safetensors": "broken safetensors file",
        "cut.bin": "cut short",
        "empty.safetensors": "is empty",
        "page.safetensors": "begins with '<!DOCTYPE html>",
        "notes.bin": "begins with 'a text of some",
        "code.bin": "holds code, which is never run",
        "list.bin": "holds a list",
        "lora.safetensors": "is a LoRA",
        "model.safetensors": "model or a training checkpoint",
        "step_000003.ckpt": "model or a training checkpoint",
        "two.safetensors": "holds 2 tensors (<a>, <b>)",
        "kohya.safetensors": "embedding of another program",
        "sdxl.safetensors": "embedding of another program",
        "nan.safetensors": "not finite",
        "cube.safetensors": "not vectors [K, D]",
        "ids.safetensors": "not vectors [K, D]",
        "missing.safetensors": "there is no embedding file",
    }


def test_everything_else_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, reason in foreign_files(tmp_path).items():
        with pytest.raises(UserError, match=re.escape(reason)) as caught:
            read(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()
