"""No file makes tinv run code, or use more memory or time than an embedding needs."""

import base64
import json
import os
import pickle
import struct
import sys
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from tests.formats.foreign import L, a1111_tree, image_blocks, pickled
from tests.limits import bounded
from tinv.errors import UserError
from tinv.formats import read
from tinv.formats.pickle_scanner import scan_pickles

MEBIBYTE = 2**20
Bomb = tuple[Path, str]
"""A file and the reason for which it is refused."""


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: object, *arguments: object):
        self.call = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


CODE = {
    "os.system": lambda marker: Call(__import__("os").system, f"echo > {marker}"),
    "builtins.eval": lambda marker: Call(eval, f"open({str(marker)!r}, 'w')"),
    "builtins.exec": lambda marker: Call(exec, f"open({str(marker)!r}, 'w')"),
    "builtins.open": lambda marker: Call(open, str(marker), "w"),
    "subprocess": lambda marker: Call(__import__("subprocess").call, ["touch", str(marker)]),
    "getattr": lambda marker: Call(getattr, "x", "join"),
    "import": lambda marker: Call(__import__("importlib").import_module, "antigravity"),
    "a function of torch's": lambda marker: Call(torch.save, {}, str(marker)),
    "bytearray": lambda marker: Call(bytearray, 2**40),
    "a tensor class": lambda marker: Call(torch.FloatTensor, 2**40),
    "complex": lambda marker: complex(1, 2),
}
"""Calls that a pickle may contain; torch's `weights_only` would execute the last three."""


@pytest.mark.parametrize("name", CODE)
@pytest.mark.parametrize("container", ["zip", "legacy", "plain", "protocol 4", "state"])
def test_a_pickle_with_any_other_global_is_refused_and_not_run(tmp_path: Path, name: str, container: str) -> None:
    """diffusers' own loader falls back to pickles silently."""
    marker = tmp_path / "pwned"
    tree = a1111_tree({"*": L}, name=CODE[name](marker))
    file = tmp_path / "hostile.pt"
    match container:
        case "zip":
            torch.save(tree, file)
        case "legacy":
            torch.save(tree, file, _use_new_zipfile_serialization=False)
        case "plain":
            file.write_bytes(pickle.dumps(CODE[name](marker), protocol=2))
        case "protocol 4":
            torch.save(tree, file, pickle_protocol=4)
        case "state":
            holder = OrderedDict(a=1)
            holder.__dict__["anything"] = CODE[name](marker)
            torch.save(holder, file)
    with pytest.raises(UserError, match="holds code, which is never run"), bounded():
        read(file)
    assert not marker.exists()
    assert "antigravity" not in sys.modules


def test_a_pickle_is_scanned_without_executing_it() -> None:
    scan = scan_pickles(pickle.dumps([Call(eval, "1/0"), OrderedDict()], protocol=2))
    assert scan.disallowed == ["__builtin__.eval"]


def test_hostile_attributes_of_an_allowed_container_are_only_data(tmp_path: Path) -> None:
    holder = OrderedDict({"<cat>": L})
    holder.__dict__.update(itemz="no function", keyz=3, __clazz__="x")
    records = records_of(holder, tmp_path)
    for placeholder, attribute in ((b"itemz", b"items"), (b"keyz", b"keys"), (b"__clazz__", b"__class__")):
        assert placeholder in records["data.pkl"]
        records["data.pkl"] = records["data.pkl"].replace(placeholder, attribute)
    assert read(torch_zip(tmp_path / "hostile.bin", records)).placeholder_token == "<cat>"


def reused_tuples(levels: int) -> bytes:
    """A pickle {tuple: None} whose tuple holds itself twice, `levels` deep: its hash takes 2^levels steps."""
    opcodes = b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(levels))
    return b"\x80\x02}(K\x01\x85q\x00" + opcodes + b"Nu."


def torch_zip(path: Path, records: dict[str, bytes], **options: int) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(f"x/{name}", content, **options)
    return path


def records_of(tree: object, folder: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(pickled(folder / "x.pt", tree)) as archive:
        return {name.removeprefix("x/"): archive.read(name) for name in archive.namelist()}


def zip_compressed(folder: Path) -> Bomb:
    records = records_of({"<cat>": torch.zeros(8 * MEBIBYTE)}, folder)
    return torch_zip(folder / "bomb.pt", records, compress_type=zipfile.ZIP_DEFLATED), "unpacks to more than its size"


def zip_overlapping(folder: Path) -> Bomb:
    """The same bytes listed under many names."""
    file = torch_zip(folder / "bomb.pt", records_of({"<cat>": torch.zeros(MEBIBYTE)}, folder))
    with zipfile.ZipFile(file, "a") as archive:
        (record,) = (record for record in archive.infolist() if record.filename == "x/data/0")
        for i in range(1, 50):
            twin = zipfile.ZipInfo(f"x/data/{i}")
            twin.header_offset, twin.file_size, twin.CRC = record.header_offset, record.file_size, record.CRC
            twin.compress_size = record.compress_size
            archive.filelist.append(twin)
        archive._didModify = True
    return file, "unpacks to more than its size"


def zip_with_duplicates(folder: Path) -> Bomb:
    """One pickle to scan, another one to load."""
    file = torch_zip(folder / "bomb.pt", records_of({"<cat>": L}, folder))
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(file, "a") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(Call(eval, "1/0"), protocol=2))
    return file, "unpacks to more than its size"


def zip_of_a_million_records(folder: Path) -> Bomb:
    file = torch_zip(folder / "bomb.pt", records_of({"<cat>": L}, folder))
    content = file.read_bytes()
    end = content.rindex(b"PK\5\6")
    record = b"PK\1\2" + bytes(24) + struct.pack("<H", 8) + bytes(16) + b"x/data/0"
    many = record * 200_000
    tail = b"PK\5\6" + bytes(8) + struct.pack("<II", len(many), end) + bytes(2)
    file.write_bytes(content[:end] + many + tail)
    return file, "is a model or a training checkpoint"


def pickle_with_reused_tuples(folder: Path) -> Bomb:
    return torch_zip(
        folder / "bomb.pt", {"data.pkl": reused_tuples(20), "version": b"3"}
    ), "crafted to exhaust memory or time"


def pickle_of_mebibytes(folder: Path) -> Bomb:
    return torch_zip(folder / "bomb.pt", {"data.pkl": b"\x80\x02" + b"]" * 8 * MEBIBYTE, "version": b"3"}), "far more"


def pickle_wide(folder: Path) -> Bomb:
    """Mappings of thousands that all share one mapping of thousands."""
    inner = {str(i): i for i in range(3000)}
    return pickled(folder / "bomb.pt", {str(i): inner for i in range(3000)}), "far more than a token"


def pickle_with_colliding_keys(folder: Path) -> Bomb:
    """100,000 integers of the same hash as the keys of one mapping."""
    keys = b"".join(pickle.LONG1 + b"\x0c" + (i * (2**61 - 1)).to_bytes(12, "little") + b"N" for i in range(60_000))
    return torch_zip(folder / "bomb.pt", {"data.pkl": b"\x80\x02}(" + keys + b"u.", "version": b"3"}), "far more"


def torch_views(folder: Path) -> Bomb:
    """60 tensors of a kilobyte that are views of millions of numbers."""
    view = torch.zeros(1).expand(2**10, 2**12)
    return pickled(folder / "bomb.pt", {f"<cat{i}>": view for i in range(60)}), "far more than a token"


def torch_sparse(folder: Path) -> Bomb:
    """Two gigabytes, most of them a hole."""
    file = pickled(folder / "bomb.pt", {"<cat>": L})
    content = file.read_bytes()
    with file.open("r+b") as opened:
        opened.seek(2**31)
        opened.write(content)
    return file, "far more than a token"


def torch_view(folder: Path) -> Bomb:
    """A tensor of 2^40 numbers, all of them the same one."""
    return pickled(folder / "bomb.pt", {"<cat>": torch.zeros(1).expand(2**20, 2**20)}), "far more"


def torch_deep(folder: Path) -> Bomb:
    deep = b"]" * 50_000 + b"a" * 49_999
    return torch_zip(folder / "bomb.pt", {"data.pkl": b"\x80\x02" + deep + b".", "version": b"3"}), "far more"


def legacy_length(folder: Path) -> Bomb:
    """A legacy file whose storage claims 2^40 numbers."""
    file = pickled(folder / "bomb.pt", {"<cat>": torch.zeros(300)}, _use_new_zipfile_serialization=False)
    content = file.read_bytes()
    claim = content.index(b"M,\x01N")  # 300 numbers, no view
    file.write_bytes(content[:claim] + b"\x8a\x06\x00\x00\x00\x00\x00\x01" + content[claim + 3 :])
    return file, "cut short or damaged"


def safetensors_file(folder: Path, header: bytes, length: int | None = None) -> Path:
    path = folder / "bomb.safetensors"
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header)
    return path


def header_length(folder: Path) -> Bomb:
    return safetensors_file(folder, b'{"a":1}', 2**62), f"its header claims {2**62} bytes"


def header_of_mebibytes(folder: Path) -> Bomb:
    return safetensors_file(folder, b"{" + b" " * 20 * MEBIBYTE + b"}"), "its header claims"


def header_nested(folder: Path) -> Bomb:
    return safetensors_file(folder, b'{"a":' + b"[" * MEBIBYTE + b"]" * MEBIBYTE + b"}"), "broken safetensors file"


def tensor_header(shape: list[int], size: int) -> bytes:
    return json.dumps({"<cat>": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()


def safetensors_shape(folder: Path) -> Bomb:
    """2^40 numbers, according to the header."""
    header = tensor_header([2**20, 2**20], 2**42)
    return safetensors_file(folder, header + bytes(64), len(header)), "broken safetensors file"


def safetensors_sparse(folder: Path) -> Bomb:
    """2^25 numbers, in a sparse file of the size that the header claims."""
    header = tensor_header([2**10, 2**15], 2**27)
    with safetensors_file(folder, header).open("r+b") as file:
        file.truncate(8 + len(header) + 2**27)
    return folder / "bomb.safetensors", "far too large for an embedding"


def safetensors_sparse_in_all(folder: Path) -> Bomb:
    """60 tensors, each of them small enough, in a sparse file of two gigabytes."""
    size = 2**25
    entries = {
        f"<cat{i}>": {"dtype": "F32", "shape": [2**10, 2**13], "data_offsets": [i * size, (i + 1) * size]}
        for i in range(60)
    }
    path = safetensors_file(folder, header := json.dumps(entries).encode())
    with path.open("r+b") as file:
        file.truncate(8 + len(header) + 60 * size)
    return path, "far too large for an embedding"


def safetensors_metadata(folder: Path) -> Bomb:
    """40,000 keys in half a megabyte."""
    save_file({"<cat>": L}, folder / "bomb.safetensors", {f"k{i}": "" for i in range(40_000)})
    return folder / "bomb.safetensors", "far more than a token"


def safetensors_bundle(folder: Path) -> Bomb:
    """5,000 embeddings in half a megabyte."""
    tensors = {f"bundle_emb.t{i}.emb_params": torch.zeros(1, 1) for i in range(5_000)}
    save_file(tensors, folder / "bomb.safetensors")
    return folder / "bomb.safetensors", "bundles 5000 tensors"


def safetensors_parts(folder: Path) -> Bomb:
    """2,000 encoders times 100,000 parts, according to the metadata."""
    tensors = {f"e{i}/stage.0": torch.zeros(1, 1) for i in range(60)}
    save_file(tensors, folder / "bomb.safetensors", {"parts": "stage.0 " * 100_000})
    return folder / "bomb.safetensors", "its metadata lists"


def safetensors_many(folder: Path) -> Bomb:
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
    """Returns a valid embedding with trailing spaces; only its length is wrong."""
    tree = {"string_to_param": {"*": {"TORCHTENSOR": [[1.0, 2.0]]}}, "name": "cat"}
    return json.dumps(tree).encode() + b" " * mebibytes * MEBIBYTE


def json_text(folder: Path, text: bytes) -> Path:
    return png(folder, base64.b64encode(text).decode())


def json_nested(folder: Path) -> Bomb:
    return json_text(folder, b'{"a":' + b"[" * MEBIBYTE + b"]" * MEBIBYTE + b"}"), "cannot be read"


def json_tensor_nested(folder: Path) -> Bomb:
    text = b'{"string_to_param":{"*":{"TORCHTENSOR":' + b"[" * 500 + b"]" * 500 + b"}}}"
    return json_text(folder, text), "cannot be read"


def json_ragged(folder: Path) -> Bomb:
    return json_text(folder, b'{"string_to_param":{"*":{"TORCHTENSOR":[[1,2],[3]]}}}'), "cannot be read"


def json_infinite(folder: Path) -> Bomb:
    return json_text(folder, b'{"string_to_param":{"*":{"TORCHTENSOR":[[1e999,2]]}}}'), "not finite"


def text_long(folder: Path) -> Bomb:
    return json_text(folder, padded(25)), "a far larger image"


def text_packed(folder: Path) -> Bomb:
    """A text that unpacks to more than Pillow's limit."""
    info = PngInfo()
    info.add_text("sd-ti-embedding", base64.b64encode(padded(6)).decode(), zip=True)
    Image.new("RGB", (8, 8)).save(folder / "bomb.png", pnginfo=info)
    return folder / "bomb.png", "cannot be read"


def pixels_packed(folder: Path) -> Bomb:
    """Pixels that unpack to twenty mebibytes."""
    low, high = image_blocks(padded(20), height=128)
    black = np.zeros((128, 1, 3), np.uint8)
    return png(folder, None, np.concatenate([low, black, low, black, high], axis=1)), "cannot be read"


def image_above_pillows_limit(folder: Path) -> Bomb:
    """A header of 40,000 x 40,000 pixels; Pillow would only warn of half of that."""
    return _with_size(png(folder, None), 40_000, 40_000), "cannot be read"


def image_above_our_limit(folder: Path) -> Bomb:
    return _with_size(png(folder, None), 12_000, 12_000), "12000 x 12000 pixels, not an embedding"


def _with_size(path: Path, width: int, height: int) -> Path:
    content = path.read_bytes()
    header = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
    path.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    return path


def image_of_many_chunks(folder: Path) -> Bomb:
    """Pillow takes microseconds and kilobytes for each."""
    content = png(folder, None).read_bytes()
    chunk = b"tEXt" + b"a\0"
    chunks = (struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))) * 100_000
    (folder / "bomb.png").write_bytes(content[:33] + chunks + content[33:])
    return folder / "bomb.png", "a far larger image"


def image_animated(folder: Path) -> Bomb:
    frames = [Image.new("RGB", (64, 64), (i, i, i)) for i in range(1, 40)]
    frames[0].save(folder / "bomb.png", save_all=True, append_images=frames[1:])
    return folder / "bomb.png", "is an animation"


BOMBS: tuple[Callable[[Path], Bomb], ...] = tuple(
    make for make in list(globals().values()) if getattr(make, "__annotations__", {}).get("return") is Bomb
)


@pytest.mark.parametrize("make", BOMBS, ids=lambda make: make.__name__)
def test_a_bomb_is_refused_within_the_limits(tmp_path: Path, make: Callable[[Path], Bomb]) -> None:
    file, reason = make(tmp_path)
    with pytest.raises(UserError) as caught, bounded():
        read(file)
    assert reason in str(caught.value)
    assert not isinstance(caught.value.__cause__, MemoryError)
    assert len(str(caught.value)) < 1000


@pytest.mark.skipif(os.name != "posix", reason="sparse files and links need privileges elsewhere")
def test_only_the_start_of_a_text_file_beside_it_is_read(tmp_path: Path) -> None:
    save_file({"emb_params": L}, tmp_path / "cat.safetensors")
    with (tmp_path / "token_identifier.txt").open("wb") as file:
        file.truncate(2**33)
    with bounded(), pytest.raises(UserError, match="cannot be typed in a prompt"):
        read(tmp_path / "cat.safetensors")
    (tmp_path / "token_identifier.txt").unlink()
    (tmp_path / "token_identifier.txt").symlink_to("/dev/zero")
    with bounded():
        assert read(tmp_path / "cat.safetensors").placeholder_token == "cat"


def test_a_vocabulary_saved_with_the_token_is_no_bomb(tmp_path: Path) -> None:
    """diffusers' `.bin` of the widest CLIP holds a quarter of a gigabyte; this one is smaller, but mapped, too."""
    table = torch.zeros(49408, 400)
    table[-1] = 1.0
    file = pickled(tmp_path / "learned_embeds.bin", {"<cat>": table[-1:]})
    with bounded(mebibytes=20):
        assert read(file).vectors["clip_l"].sum() == 400
