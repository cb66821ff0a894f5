"""A file that is not an embedding is refused in one sentence that says what it is, and no code in it runs."""

import os
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.formats import foreign
from tests.formats.foreign import G, L, a1111_tree, pickled, saved
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding, read, write

LAYERS = "IN01 IN02 IN04 IN05 IN07 IN08 MID OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09 OUT10 OUT11".split()
ONES = torch.ones(2, 2)


class Mapper(torch.nn.Linear):
    """A network that a file holds as an object."""


class Evil:
    """Pickles as a call of `os.system`."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


CODE = "holds code, which is never run"
LORA = "is a LoRA, not an embedding"
MODEL = "is a model or a training checkpoint"
FILES: dict[str, tuple[Any, str]] = {
    "empty.safetensors": (b"", "is empty"),
    "page.safetensors": (b"<!DOCTYPE html><html><body>404</body></html>", "begins with '<!DOCTYPE html>"),
    "notes.bin": (b"a text of some length that is no embedding at all", "begins with 'a text of some"),
    "code.bin": ({"<cat>": Evil()}, f"{CODE} (it asks for posix.system)"),
    "code.pkl": (pickle.dumps(Evil()), CODE),
    "mapper.pt": ({"encoder": Mapper(2, 2), "cfg": {}}, "it is a network, a checkpoint or an attack"),
    "mapper.safetensors": ({"net.0.weight": ONES, "net.0.bias": ONES}, "a mapper (such as NeTI's) or an adapter"),
    "list.bin": ([torch.ones(8)], "holds a list"),
    "tensor.bin": (torch.ones(8), "holds a Tensor"),
    "lora.safetensors": ({"unet.lora_up.weight": ONES}, LORA),
    "lora_diffusers.safetensors": ({"unet.mid.to_k_lora.down.weight": ONES}, LORA),
    "lora.pt": ({f"lora_te_{i}.lora_down.weight": torch.ones(2, 2) for i in range(99)}, LORA),
    "lycoris.safetensors": ({"lycoris_mid.hada_w1_a": ONES}, LORA),
    "model.safetensors": ({f"layer.{i}.weight": torch.ones(2) for i in range(80)}, MODEL),
    "model.ckpt": ({f"layer.{i}.weight": torch.ones(2) for i in range(80)}, MODEL),
    "step_000003.ckpt": ({"state_dict": {}, "global_step": 3}, MODEL),
    "xti.safetensors": (dict.fromkeys(LAYERS, L), "it has its own vectors for each layer of the U-Net"),
    "cat.pt.optim": ({"optimizer_state_dict": {"state": {}}}, "is an optimizer state of AUTOMATIC1111's web UI"),
    "arrays.bin": ({"<cat>": np.ones(768)}, "numpy.dtype, numpy.ndarray): it is a network, a checkpoint or an attack"),
    "out.safetensors": ({"emp_params": 0 * L, "emp_params_out": L}, "has only an output embedding"),
    "two_encoders.safetensors": ({"<a>": L, "<b>": G}, "holds 2 tensors of different widths (<a>, <b>)"),
    "twice.pt": ([{"cat": L}, {"cat": L}], "holds two sets of vectors of cat for clip_l"),
    "no_vectors.pt": (a1111_tree({}), "web UI without vectors"),
    "odd.pt": ({"<cat>": L, 3: L}, "is no embedding that tinv knows: it holds <cat> [2, 768]"),
    "nan.safetensors": ({"<cat>": torch.full((1, 8), float("nan"))}, "not finite"),
    "cube.safetensors": ({"<cat>": torch.ones(1, 8, 3)}, "not vectors [K, D]"),
    "none.safetensors": ({"<cat>": torch.ones(0, 8)}, "not vectors [K, D]"),
    "ids.safetensors": ({"<cat>": torch.ones(2, 8, dtype=torch.int64)}, "not vectors [K, D]"),
    "nothing.safetensors": ({}, "not a token and its vectors"),
}
"""Each file's content, and the reason for which it is refused."""


def write_other_files(folder: Path) -> dict[str, str]:
    """Writes the files that take more than one line; returns the reason for which each is refused."""
    write(folder / "whole.safetensors", LearnedEmbedding("<cat-toy>", {"clip_l": foreign.rows(64, 16)}))
    content = (folder / "whole.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(content[: len(content) // 2])
    (folder / "cut_in_header.safetensors").write_bytes(content[:40])
    (folder / "cut.bin").write_bytes(pickled(folder / "x.bin", {"<cat>": foreign.rows(64, 64)}).read_bytes()[:9000])
    pickled(folder / "code_legacy.bin", {"<cat>": Evil()}, _use_new_zipfile_serialization=False)
    np.save(folder / "flax.npy", np.array({"<cat>": np.ones(768)}), allow_pickle=True)
    np.savez(folder / "several.npz", cat=np.ones(768))
    Image.new("RGB", (64, 64), (9, 90, 200)).save(folder / "preview.png")
    foreign.embedding_image(folder / "resaved.jpg", a1111_tree({"*": L}), text=False, pixels=True)
    (folder / "folder").mkdir()
    return {
        "cut.safetensors": "broken safetensors file",
        "cut_in_header.safetensors": "broken safetensors file",
        "cut.bin": "cut short",
        "code_legacy.bin": f"{CODE} (it asks for posix.system)",
        "flax.npy": "is a NumPy file, as the Flax script writes them",
        "several.npz": "is a zip of cat.npy, not an embedding",
        "preview.png": "is an image without an embedding",
        "resaved.jpg": "is an image without an embedding",
        "folder": "holds no learned_embeds.safetensors",
        "missing.safetensors": "there is no embedding file",
    }


def write_file(path: Path, content: Any) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        (saved if path.suffix == ".safetensors" else pickled)(path, content)


def test_other_files_are_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, (content, _) in FILES.items():
        write_file(tmp_path / name, content)
    reasons = {name: reason for name, (_, reason) in FILES.items()} | write_other_files(tmp_path)
    for name, reason in reasons.items():
        with pytest.raises(UserError, match=re.escape(reason)) as caught, warnings.catch_warnings():
            warnings.simplefilter("error")
            read(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("token", ["<flora>", "<my_lora_style>", "<net.weights>", "<unet>", "<state_dict_art>"])
def test_a_token_that_resembles_a_name_of_weights_is_read(tmp_path: Path, token: str) -> None:
    assert read(saved(tmp_path / "x.safetensors", {token: L})).placeholder_token == token


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.bin")
    (tmp_path / "endless.bin").symlink_to("/dev/zero")
    (tmp_path / "loop.bin").symlink_to("loop.bin")
    for name in ("pipe.bin", "endless.bin", "loop.bin"):
        with pytest.raises(UserError, match="there is no embedding file"):
            read(tmp_path / name)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_read_permission_is_named(tmp_path: Path) -> None:
    file = foreign.diffusers(tmp_path).path
    file.chmod(0)
    with pytest.raises(UserError, match=r"cannot be opened \(Permission denied\)"):
        read(file)
