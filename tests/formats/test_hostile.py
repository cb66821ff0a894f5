"""No file makes tinv run code, or take more memory or time than an embedding deserves."""

import base64
import json
import os
import pickle
import struct
import sys
import time
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from tests.formats.foreign import L, a1111_tree, pickled
from tinv.errors import UserError
from tinv.formats import read
from tinv.formats.pickle_scanner import look_through

MEBIBYTE = 2**20


@contextmanager
def bounded(mebibytes: int = 512, seconds: float = 20) -> Iterator[None]:
    """While the block runs, allocating more than this fails; the clock is looked at when it ends."""
    started = time.monotonic()
    if sys.platform == "linux":
        import resource

        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (now + mebibytes * MEBIBYTE, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
    else:
        yield
    assert time.monotonic() - started < seconds


class Call:
    """Pickles as a call of anything."""

    def __init__(self, function: object, *arguments: object):
        self.call = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


CODE = {
    "os.system": lambda mark: Call(__import__("os").system, f"echo > {mark}"),
    "builtins.eval": lambda mark: Call(eval, f"open({str(mark)!r}, 'w')"),
    "builtins.exec": lambda mark: Call(exec, f"open({str(mark)!r}, 'w')"),
    "builtins.open": lambda mark: Call(open, str(mark), "w"),
    "subprocess": lambda mark: Call(__import__("subprocess").call, ["touch", str(mark)]),
    "getattr": lambda mark: Call(getattr, "x", "join"),
    "import": lambda mark: Call(__import__("importlib").import_module, "antigravity"),
    "a function of torch's": lambda mark: Call(torch.save, {}, str(mark)),
    "bytearray": lambda mark: Call(bytearray, 2**40),
    "a tensor class": lambda mark: Call(torch.FloatTensor, 2**40),
    "complex": lambda mark: complex(1, 2),
}
"""What a pickle may ask for; torch's `weights_only` would build the last three."""


@pytest.mark.parametrize("name", CODE)
@pytest.mark.parametrize("container", ["zip", "legacy", "plain", "protocol 4", "state"])
def test_a_pickle_that_asks_for_anything_else_is_refused_and_not_run(tmp_path: Path, name: str, container: str) -> None:
    """E-38: diffusers' loader falls back to pickles in silence."""
    mark = tmp_path / "pwned"
    tree = a1111_tree({"*": L}, name=CODE[name](mark))
    file = tmp_path / "hostile.pt"
    match container:
        case "zip":
            torch.save(tree, file)
        case "legacy":
            torch.save(tree, file, _use_new_zipfile_serialization=False)
        case "plain":
            file.write_bytes(pickle.dumps(CODE[name](mark), protocol=2))
        case "protocol 4":
            torch.save(tree, file, pickle_protocol=4)
        case "state":
            holder = OrderedDict(a=1)
            holder.__dict__["anything"] = CODE[name](mark)
            torch.save(holder, file)
    with pytest.raises(UserError, match="holds code, which is never run"), bounded():
        read(file)
    assert not mark.exists()
    assert "antigravity" not in sys.modules


def test_the_instructions_of_a_pickle_are_read_without_doing_them(tmp_path: Path) -> None:
    found = look_through(pickle.dumps([Call(eval, "1/0"), OrderedDict()], protocol=2))
    assert found.foreign == ["__builtin__.eval"]


def test_an_allowed_container_with_hostile_attributes_is_only_data(tmp_path: Path) -> None:
    holder = OrderedDict({"<cat>": L})
    holder.__dict__.update(itemz="no function", keyz=3, __clazz__="x")
    parts = parts_of(holder, tmp_path)
    for ours, theirs in ((b"itemz", b"items"), (b"keyz", b"keys"), (b"__clazz__", b"__class__")):
        assert ours in parts["data.pkl"]
        parts["data.pkl"] = parts["data.pkl"].replace(ours, theirs)
    assert read(torch_zip(tmp_path / "hostile.bin", parts)).placeholder_token == "<cat>"


def knot(levels: int) -> bytes:
    """A pickle {tuple: None} whose tuple holds itself twice, `levels` deep: its hash takes 2^levels steps."""
    steps = b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(levels))
    return b"\x80\x02}(K\x01\x85q\x00" + steps + b"Nu."


def torch_zip(path: Path, records: dict[str, bytes], **options: int) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(f"x/{name}", content, **options)
    return path


def parts_of(tree: object, folder: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(pickled(folder / "x.pt", tree)) as archive:
        return {name.removeprefix("x/"): archive.read(name) for name in archive.namelist()}


def zip_packed(folder: Path) -> tuple[Path, str]:
    parts = parts_of({"<cat>": torch.zeros(8 * MEBIBYTE)}, folder)
    return torch_zip(folder / "bomb.pt", parts, compress_type=zipfile.ZIP_DEFLATED), "unpacks to more than it is"


def zip_overlapping(folder: Path) -> tuple[Path, str]:
    """The same bytes listed under many names."""
    file = torch_zip(folder / "bomb.pt", parts_of({"<cat>": torch.zeros(MEBIBYTE)}, folder))
    with zipfile.ZipFile(file, "a") as archive:
        (record,) = (record for record in archive.infolist() if record.filename == "x/data/0")
        for i in range(1, 50):
            twin = zipfile.ZipInfo(f"x/data/{i}")
            twin.header_offset, twin.file_size, twin.CRC = record.header_offset, record.file_size, record.CRC
            twin.compress_size = record.compress_size
            archive.filelist.append(twin)
        archive._didModify = True
    return file, "unpacks to more than it is"


def zip_doubled(folder: Path) -> tuple[Path, str]:
    """One pickle to look through, another one to load."""
    file = torch_zip(folder / "bomb.pt", parts_of({"<cat>": L}, folder))
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(file, "a") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(Call(eval, "1/0"), protocol=2))
    return file, "unpacks to more than it is"


def zip_of_a_million_records(folder: Path) -> tuple[Path, str]:
    file = torch_zip(folder / "bomb.pt", parts_of({"<cat>": L}, folder))
    content = file.read_bytes()
    end = content.rindex(b"PK\5\6")
    record = b"PK\1\2" + bytes(24) + struct.pack("<H", 8) + bytes(16) + b"x/data/0"
    many = record * 200_000
    tail = b"PK\5\6" + bytes(8) + struct.pack("<II", len(many), end) + bytes(2)
    file.write_bytes(content[:end] + many + tail)
    return file, "is a model or a training checkpoint"


def pickle_knot(folder: Path) -> tuple[Path, str]:
    return torch_zip(folder / "bomb.pt", {"data.pkl": knot(20), "version": b"3"}), "made to take memory or time"


def pickle_of_mebibytes(folder: Path) -> tuple[Path, str]:
    return torch_zip(folder / "bomb.pt", {"data.pkl": b"\x80\x02" + b"]" * 8 * MEBIBYTE, "version": b"3"}), "far more"


def pickle_wide(folder: Path) -> tuple[Path, str]:
    """Mappings of thousands that all share one mapping of thousands."""
    inner = {str(i): i for i in range(3000)}
    return pickled(folder / "bomb.pt", {str(i): inner for i in range(3000)}), "far more than a word"


def torch_view(folder: Path) -> tuple[Path, str]:
    """A tensor of 2^40 numbers, all of them the same one."""
    return pickled(folder / "bomb.pt", {"<cat>": torch.zeros(1).expand(2**20, 2**20)}), "not vectors"


def torch_deep(folder: Path) -> tuple[Path, str]:
    deep = b"]" * 50_000 + b"a" * 49_999
    return torch_zip(folder / "bomb.pt", {"data.pkl": b"\x80\x02" + deep + b".", "version": b"3"}), "holds a list"


def legacy_length(folder: Path) -> tuple[Path, str]:
    """A legacy file whose storage claims 2^40 numbers."""
    file = pickled(folder / "bomb.pt", {"<cat>": torch.zeros(300)}, _use_new_zipfile_serialization=False)
    content = file.read_bytes()
    claim = content.index(b"M,\x01N")  # 300 numbers, no view
    file.write_bytes(content[:claim] + b"\x8a\x06\x00\x00\x00\x00\x00\x01" + content[claim + 3 :])
    return file, "cut short or broken"


def header_length(folder: Path) -> tuple[Path, str]:
    (folder / "bomb.safetensors").write_bytes(struct.pack("<Q", 2**62) + b'{"a":1}')
    return folder / "bomb.safetensors", f"its header claims {2**62} bytes"


def header_of_mebibytes(folder: Path) -> tuple[Path, str]:
    text = b"{" + b" " * 20 * MEBIBYTE + b"}"
    (folder / "bomb.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    return folder / "bomb.safetensors", "its header claims"


def header_nested(folder: Path) -> tuple[Path, str]:
    text = b'{"a":' + b"[" * MEBIBYTE + b"]" * MEBIBYTE + b"}"
    (folder / "bomb.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    return folder / "bomb.safetensors", "broken safetensors file"


def safetensors_shape(folder: Path) -> tuple[Path, str]:
    """2^40 numbers, as far as the header says."""
    text = json.dumps({"<cat>": {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}}).encode()
    (folder / "bomb.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))
    return folder / "bomb.safetensors", "broken safetensors file"


def safetensors_sparse(folder: Path) -> tuple[Path, str]:
    """As above, and the file is as long as that, by a hole in it."""
    text = json.dumps({"<cat>": {"dtype": "F32", "shape": [2**10, 2**15], "data_offsets": [0, 2**27]}}).encode()
    with (folder / "bomb.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + 2**27)
    return folder / "bomb.safetensors", "far too much for a word's vectors"


def safetensors_many(folder: Path) -> tuple[Path, str]:
    save_file({f"a{i}": torch.zeros(1) for i in range(2_000)}, folder / "bomb.safetensors")
    return folder / "bomb.safetensors", "is a model"


def png(folder: Path, text: str | None, pixels: np.ndarray | None = None) -> Path:
    info = PngInfo()
    if text is not None:
        info.add_text("sd-ti-embedding", text)
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8) if pixels is None else pixels).save(
        folder / "bomb.png", pnginfo=info
    )
    return folder / "bomb.png"


def padded(mebibytes: int) -> bytes:
    """A whole embedding, and blanks behind it: nothing but its length speaks against it."""
    tree = {"string_to_param": {"*": {"TORCHTENSOR": [[1.0, 2.0]]}}, "name": "cat"}
    return json.dumps(tree).encode() + b" " * mebibytes * MEBIBYTE


def json_nested(folder: Path) -> tuple[Path, str]:
    text = b'{"a":' + b"[" * MEBIBYTE + b"]" * MEBIBYTE + b"}"
    return png(folder, base64.b64encode(text).decode()), "cannot be read"


def json_tensor_nested(folder: Path) -> tuple[Path, str]:
    text = b'{"string_to_param":{"*":{"TORCHTENSOR":' + b"[" * 500 + b"]" * 500 + b"}}}"
    return png(folder, base64.b64encode(text).decode()), "cannot be read"


def json_ragged(folder: Path) -> tuple[Path, str]:
    text = b'{"string_to_param":{"*":{"TORCHTENSOR":[[1,2],[3]]}}}'
    return png(folder, base64.b64encode(text).decode()), "cannot be read"


def json_infinite(folder: Path) -> tuple[Path, str]:
    text = b'{"string_to_param":{"*":{"TORCHTENSOR":[[1e999,2]]}}}'
    return png(folder, base64.b64encode(text).decode()), "not finite"


def text_long(folder: Path) -> tuple[Path, str]:
    return png(folder, base64.b64encode(padded(25)).decode()), "cannot be read"


def text_packed(folder: Path) -> tuple[Path, str]:
    """A text that unpacks to more than Pillow's limit."""
    info = PngInfo()
    info.add_text("sd-ti-embedding", base64.b64encode(padded(6)).decode(), zip=True)
    Image.new("RGB", (8, 8)).save(folder / "bomb.png", pnginfo=info)
    return folder / "bomb.png", "cannot be read"


def pixels_packed(folder: Path) -> tuple[Path, str]:
    """Pixels that unpack to twenty mebibytes."""
    packed = np.frombuffer(zlib.compress(padded(20), 9), np.uint8)
    size, height = -(-packed.size // 384) * 384, 128
    state, veil = 0, np.zeros(size, np.uint8)
    for i in range(size):
        state = (1664525 * state + 1013904223) % 2**32
        veil[i] = state % 255 & 15
    blocks = [(np.resize(half, size) ^ veil | 64).reshape(height, -1, 3) for half in (packed & 15, packed >> 4)]
    black = np.zeros((height, 1, 3), np.uint8)
    return png(folder, None, np.concatenate([blocks[0], black, blocks[0], black, blocks[1]], axis=1)), "cannot be read"


def picture_large(folder: Path) -> tuple[Path, str]:
    """A header of 40,000 x 40,000 pixels; Pillow itself would only warn of half of that."""
    return _with_size(png(folder, None), 40_000, 40_000), "cannot be read"


def picture_large_enough(folder: Path) -> tuple[Path, str]:
    return _with_size(png(folder, None), 12_000, 12_000), "12000 x 12000 pixels, none of which hold embeddings"


def _with_size(path: Path, width: int, height: int) -> Path:
    content = path.read_bytes()
    header = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
    path.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    return path


def picture_animated(folder: Path) -> tuple[Path, str]:
    frames = [Image.new("RGB", (64, 64), (i, i, i)) for i in range(1, 40)]
    frames[0].save(folder / "bomb.png", save_all=True, append_images=frames[1:])
    return folder / "bomb.png", "is an animation"


BOMBS: tuple[Callable[[Path], tuple[Path, str]], ...] = (
    zip_packed,
    zip_overlapping,
    zip_doubled,
    zip_of_a_million_records,
    pickle_knot,
    pickle_of_mebibytes,
    pickle_wide,
    torch_view,
    torch_deep,
    legacy_length,
    header_length,
    header_of_mebibytes,
    header_nested,
    safetensors_shape,
    safetensors_sparse,
    safetensors_many,
    json_nested,
    json_tensor_nested,
    json_ragged,
    json_infinite,
    text_long,
    text_packed,
    pixels_packed,
    picture_large,
    picture_large_enough,
    picture_animated,
)


@pytest.mark.parametrize("make", BOMBS, ids=lambda make: make.__name__)
def test_no_bomb_hurts(tmp_path: Path, make: Callable[[Path], tuple[Path, str]]) -> None:
    file, reason = make(tmp_path)
    with pytest.raises(UserError) as caught, bounded():
        read(file)
    assert reason in str(caught.value)
    assert not isinstance(caught.value.__cause__, MemoryError)
    assert len(str(caught.value)) < 1000


@pytest.mark.skipif(os.name != "posix", reason="files with holes and links are not for everybody elsewhere")
def test_notes_beside_a_file_are_read_no_further_than_needed(tmp_path: Path) -> None:
    save_file({"emb_params": L}, tmp_path / "cat.safetensors")
    with (tmp_path / "token_identifier.txt").open("wb") as file:
        file.truncate(2**33)
    with bounded(), pytest.raises(UserError, match="no word for a prompt"):
        read(tmp_path / "cat.safetensors")
    (tmp_path / "token_identifier.txt").unlink()
    (tmp_path / "token_identifier.txt").symlink_to("/dev/zero")
    with bounded():
        assert read(tmp_path / "cat.safetensors").placeholder_token == "cat"


def test_a_vocabulary_saved_with_its_word_is_no_bomb(tmp_path: Path) -> None:
    """diffusers' `.bin` of the widest CLIP holds a quarter of a gigabyte; here a smaller one."""
    table = torch.zeros(49408, 300)
    table[-1] = 1.0
    with bounded():
        assert read(pickled(tmp_path / "learned_embeds.bin", {"<cat>": table[-1:]})).vectors["clip_l"].sum() == 300
