"""What is no embedding is refused in one sentence that says what it is, and nothing of it is run."""

import os
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.formats import foreign
from tests.formats.foreign import G, L, a1111_tree, pickled, saved
from tinv.errors import UserError
from tinv.formats import read, write
from tinv.formats.learned_embedding import LearnedEmbedding

LAYERS = "IN01 IN02 IN04 IN05 IN07 IN08 MID OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09 OUT10 OUT11".split()


class Mapper(torch.nn.Linear):
    """Stands for a network that a file holds as an object."""


class Evil:
    """What a malicious pickle would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


def foreign_files(folder: Path) -> dict[str, str]:
    """Files that are no embedding, and what the refusal must say of each."""
    write(folder / "whole.safetensors", LearnedEmbedding("<cat-toy>", {"clip_l": foreign.rows(64, 16)}))
    whole = (folder / "whole.safetensors").read_bytes()
    pickled(folder / "whole.bin", {"<cat>": foreign.rows(64, 64)})
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "cut_in_header.safetensors").write_bytes(whole[:40])
    (folder / "cut.bin").write_bytes((folder / "whole.bin").read_bytes()[:9000])
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "page.safetensors").write_text("<!DOCTYPE html><html><body>404</body></html>")
    (folder / "notes.bin").write_text("a text of some length that is no embedding at all")
    pickled(folder / "code.bin", {"<cat>": Evil()})
    pickled(folder / "code_legacy.bin", {"<cat>": Evil()}, _use_new_zipfile_serialization=False)
    (folder / "code.pkl").write_bytes(pickle.dumps(Evil()))
    pickled(folder / "mapper.pt", {"encoder": Mapper(2, 2), "cfg": {}})
    saved(folder / "mapper.safetensors", {"net.0.weight": torch.ones(4, 8), "net.0.bias": torch.ones(8)})
    pickled(folder / "list.bin", [torch.ones(8)])
    pickled(folder / "tensor.bin", torch.ones(8))
    saved(folder / "lora.safetensors", {"unet.lora_up.weight": torch.ones(2, 2)})
    saved(folder / "lora_diffusers.safetensors", {"unet.mid.to_k_lora.down.weight": torch.ones(2, 2)})
    pickled(folder / "lora.pt", {f"lora_te_{i}.lora_down.weight": torch.ones(2, 2) for i in range(99)})
    saved(folder / "lycoris.safetensors", {"lycoris_mid.hada_w1_a": torch.ones(2, 2)})
    saved(folder / "model.safetensors", {f"layer.{i}.weight": torch.ones(2) for i in range(80)})
    pickled(folder / "model.ckpt", {f"layer.{i}.weight": torch.ones(2) for i in range(80)})
    pickled(folder / "step_000003.ckpt", {"state_dict": {}, "global_step": 3})
    saved(folder / "xti.safetensors", dict.fromkeys(LAYERS, L))
    pickled(folder / "cat.pt.optim", {"hash": "a3f9", "optimizer_state_dict": {"state": {}}})
    np.save(folder / "flax.npy", np.array({"<cat>": np.ones(768)}), allow_pickle=True)
    np.savez(folder / "several.npz", cat=np.ones(768))
    pickled(folder / "arrays.bin", {"<cat>": np.ones(768)})
    saved(folder / "out.safetensors", {"emp_params": 0 * L, "emp_params_out": L})
    saved(folder / "two_encoders.safetensors", {"<a>": L, "<b>": G})
    pickled(folder / "twice.pt", [{"cat": L}, {"cat": L}])
    pickled(folder / "empty.pt", a1111_tree({}))
    pickled(folder / "odd.pt", {"<cat>": L, 3: L})
    saved(folder / "nan.safetensors", {"<cat>": torch.full((1, 8), float("nan"))})
    saved(folder / "cube.safetensors", {"<cat>": torch.ones(1, 8, 3)})
    saved(folder / "none.safetensors", {"<cat>": torch.ones(0, 8)})
    saved(folder / "ids.safetensors", {"<cat>": torch.ones(2, 8, dtype=torch.int64)})
    save_file({}, folder / "nothing.safetensors")
    Image.new("RGB", (64, 64), (9, 90, 200)).save(folder / "preview.png")
    foreign.picture(folder / "resaved.jpg", a1111_tree({"*": L}), text=False, pixels=True)
    (folder / "folder").mkdir()
    return {
        "cut.safetensors": "broken safetensors file",
        "cut_in_header.safetensors": "broken safetensors file",
        "cut.bin": "cut short",
        "empty.safetensors": "is empty",
        "page.safetensors": "begins with '<!DOCTYPE html>",
        "notes.bin": "begins with 'a text of some",
        "code.bin": "holds code, which is never run (it asks for posix.system)",
        "code_legacy.bin": "holds code, which is never run (it asks for posix.system)",
        "code.pkl": "holds code, which is never run",
        "mapper.pt": "it is a network, a checkpoint or an attack",
        "mapper.safetensors": "a mapper (as NeTI's) or an adapter",
        "list.bin": "holds a list",
        "tensor.bin": "holds a Tensor",
        "lora.safetensors": "is a LoRA",
        "lora_diffusers.safetensors": "is a LoRA",
        "lora.pt": "is a LoRA",
        "lycoris.safetensors": "is a LoRA",
        "model.safetensors": "model or a training checkpoint",
        "model.ckpt": "model or a training checkpoint",
        "step_000003.ckpt": "model or a training checkpoint",
        "xti.safetensors": "vectors of its own for each of the U-Net's layers and cannot be used as one word",
        "cat.pt.optim": "is the optimizer's state of AUTOMATIC1111's web UI",
        "flax.npy": "is a NumPy file, as the Flax script writes them",
        "several.npz": "is a zip of cat.npy, not an embedding",
        "arrays.bin": "numpy.dtype, numpy.ndarray): it is a network, a checkpoint or an attack",
        "out.safetensors": "was learned behind the text encoder",
        "two_encoders.safetensors": "holds 2 tensors of different widths (<a>, <b>)",
        "twice.pt": "holds vectors of cat twice for clip_l",
        "empty.pt": "without vectors in it",
        "odd.pt": "is no embedding that tinv knows: it holds <cat> [2, 768]",
        "nan.safetensors": "not finite",
        "cube.safetensors": "not vectors [K, D]",
        "none.safetensors": "not vectors [K, D]",
        "ids.safetensors": "not vectors [K, D]",
        "nothing.safetensors": "not a word and its vectors",
        "preview.png": "is a picture without an embedding",
        "resaved.jpg": "is a picture without an embedding",
        "folder": "holds no learned_embeds.safetensors",
        "missing.safetensors": "there is no embedding file",
    }


def test_everything_else_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, reason in foreign_files(tmp_path).items():
        with pytest.raises(UserError, match=re.escape(reason)) as caught, warnings.catch_warnings():
            warnings.simplefilter("error")
            read(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("word", ["<flora>", "<my_lora_style>", "<net.weights>", "<unet>", "<state_dict_art>"])
def test_words_that_sound_like_parts_of_networks_are_words(tmp_path: Path, word: str) -> None:
    assert read(saved(tmp_path / "x.safetensors", {word: L})).placeholder_token == word


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.bin")
    (tmp_path / "endless.bin").symlink_to("/dev/zero")
    (tmp_path / "round.bin").symlink_to("round.bin")
    for name in ("pipe.bin", "endless.bin", "round.bin"):
        with pytest.raises(UserError, match="there is no embedding file"):
            read(tmp_path / name)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    file = foreign.diffusers(tmp_path).path
    file.chmod(0)
    with pytest.raises(UserError, match=r"cannot be opened \(Permission denied\)"):
        read(file)
