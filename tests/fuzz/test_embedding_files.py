"""No file runs code, costs more than 2 seconds or 200 MB, or crashes: it is read, or refused with a sentence.

Only images and zips have checksums: a changed number in a bare tensor is a number like any other.
"""

import json
import pickle
import random
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.formats.foreign import FILES, ForeignFile, L, embedding_image, pickled
from tests.formats.test_hostile import BOMBS, CODE, Call
from tests.formats.test_reading import same
from tests.fuzz.conftest import CaseCounter
from tests.limits import bounded
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding, read_all
from tinv.inference.inspect import describe_file

pytestmark = pytest.mark.slow
NAMES = (
    "<cat> * __metadata__ string_to_param string_to_token name step provenance emb_params emp_params emb_params_out "
    "clip_l clip_g clip_h t5 t5xxl_out qwen3_4b umt5 "
    "text_encoder text_encoders_0 text_encoders_1 clip_l/stage.0 clip_l/stage.1 clip_g/negative "
    "bundle_emb.a.clip_l bundle_emb.a.string_to_param.* lora.lora_up.weight state_dict optimizer_state_dict a.weight "
    "unet:0:up TORCHTENSOR placeholder_token negative negative_of parts modelspec.title format ../../x \u202e \x00 "
    "IN01 MID"
).split(" ")
"""Names that a layout looks for, and odd ones."""
SHAPES = ((8,), (2, 8), (1, 768), (1, 1280), (1, 2048), (1, 4096), (3, 1024), (0, 8), (), (1, 2, 8), (2**13, 768))
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.float8_e4m3fn)


def read_and_describe(path: Path) -> list[LearnedEmbedding] | None:
    """Returns the embeddings of a file, None if it is refused; checks the limits, the vectors and the message."""
    with bounded(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            embeddings = read_all(path)
            report = describe_file(path)
        except UserError as error:
            message, embeddings = str(error), None
    if embeddings is None:
        assert "\n" not in message and len(message) < 2000
        return None
    assert all(line.isprintable() for line in report.splitlines())
    for embedding in embeddings:
        assert embedding.placeholder_token.isprintable()
        for vectors_KD in embedding.vectors.values():
            assert (vectors_KD.dtype, vectors_KD.ndim) == (torch.float32, 2)
            assert vectors_KD.isfinite().all() and 0 < vectors_KD.numel() <= 2**23
    return embeddings


def main_file(made: ForeignFile) -> Path:
    return made.path if made.path.is_file() else next(made.path.glob("*embed*"))


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_a_truncated_file_gives_its_vectors_or_is_refused(
    tmp_path: Path, make: Callable[[Path], ForeignFile], count_cases: CaseCounter
) -> None:
    made = make(tmp_path)
    file = main_file(made)
    content = file.read_bytes()
    lengths = {0, 1, 2, 7, 8, 9, len(content) - 1}
    lengths |= {count_cases.rng.randrange(len(content)) for _ in range(count_cases.scaled(40))}
    num_refused = 0
    for length in sorted(lengths):
        with count_cases.case(f"{make.__name__} cut to {length} bytes"):
            file.write_bytes(content[:length])
            embeddings = read_and_describe(file)
            num_refused += embeddings is None
            assert embeddings is None or same(embeddings, made)
    assert num_refused >= len(lengths) - 2


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_a_file_with_changed_bytes_gives_vectors_or_is_refused(
    tmp_path: Path, make: Callable[[Path], ForeignFile], count_cases: CaseCounter
) -> None:
    file, rng = main_file(make(tmp_path)), count_cases.rng
    content = file.read_bytes()
    for number in range(count_cases.scaled(100)):
        changed = bytearray(content)
        for _ in range(rng.choice((1, 1, 1, 20))):
            start = rng.randrange(len(changed) if number % 2 else min(len(changed), 600))  # half of them in the header
            match rng.randrange(4):
                case 0 | 1:
                    changed[start] = rng.randrange(256)
                case 2:
                    changed[start : start + 8] = rng.choice((b"", b"\xff" * 8, b"\x00" * 8, struct.pack("<Q", 2**40)))
                case 3:
                    end = start + rng.randrange(64)
                    changed[end:end] = changed[start:end]
        with count_cases.case(f"{make.__name__}, change {number}"):
            file.write_bytes(changed)
            read_and_describe(file)


def test_a_file_of_random_names_and_values_gives_vectors_or_is_refused(
    tmp_path: Path, count_cases: CaseCounter
) -> None:
    """Any tree in any container, half of them with a call of a function somewhere in it."""
    marker, num_read = tmp_path / "marker", 0
    for number in range(count_cases.scaled(1500)):
        rng = random.Random(count_cases.rng.random())
        file = tmp_path / "file.bin"
        call = CODE[rng.choice([*CODE])](marker) if rng.random() < 0.5 else None
        write_tree(file, rng, call)
        with count_cases.case(f"tree {number}"):
            num_read += read_and_describe(file) is not None
            assert not marker.exists()
    assert num_read > 0


def test_a_safetensors_file_of_a_random_header_gives_vectors_or_is_refused(
    tmp_path: Path, count_cases: CaseCounter
) -> None:
    file, rng = tmp_path / "file.safetensors", count_cases.rng
    for number in range(count_cases.scaled(1500)):
        content = random_header(rng)
        with count_cases.case(f"header {number}: {content[:300]!r}"):
            file.write_bytes(struct.pack("<Q", len(content) - rng.choice((0, 0, 1, -1))) + content)
            with file.open("r+b") as opened:
                opened.truncate(rng.choice((0, 9, 8 + len(content), 8 + len(content) + 64, 2**31)))
            read_and_describe(file)


def test_a_bomb_is_refused_by_the_command(tmp_path: Path, count_cases: CaseCounter) -> None:
    """In a process of its own, for a random quarter of them; test_hostile.py has all of them in this process."""
    number = min(len(BOMBS), count_cases.scaled(len(BOMBS) // 4))
    for make in count_cases.rng.sample(BOMBS, number):
        with count_cases.case(make.__name__):
            file, reason = make(tmp_path)
            command = [sys.executable, "-m", "tinv.cli", "inspect", str(file)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            assert (done.returncode, done.stdout) == (1, "")
            assert reason in done.stderr and done.stderr.count("\n") == 1


def random_tensor(rng: random.Random) -> torch.Tensor:
    """Returns a tensor of an odd shape and type, with odd numbers, or a view of few numbers that looks large."""
    if rng.random() < 0.1:
        return torch.zeros(1).expand(2 ** rng.randrange(32), 2 ** rng.randrange(31))
    tensor = torch.full(rng.choice(SHAPES), rng.choice((0.0, 0.1, float("nan"), float("inf"), 3e38, 1e-45)))
    return tensor.to(rng.choice(DTYPES))


def random_tree(rng: random.Random, depth: int, call: object) -> Any:
    """Returns nested mappings and lists of tensors, texts and numbers; `call` is somewhere among them, if not None."""
    kind = rng.randrange(10)
    if depth and kind < 4:
        names = rng.sample([*NAMES, 0, 7], rng.randrange(1, 5))
        children = [random_tree(rng, depth - 1, call if i == 0 else None) for i in range(len(names))]
        return dict(zip(names, children, strict=True))
    if depth and kind == 4:
        return [random_tree(rng, depth - 1, call if i == 0 else None) for i in range(1, 4)]
    if isinstance(call, Call):
        return call
    return random_tensor(rng) if kind < 8 else rng.choice((None, "", "x" * 5000, 2**70, -1, 1.5, True, set(), "<dog>"))


def write_tree(path: Path, rng: random.Random, call: object) -> None:
    """Writes a random tree in a random container."""
    names = rng.sample(NAMES, rng.randrange(1, 5))
    tree = {name: random_tree(rng, 2, call if name == names[0] else None) for name in names}
    match rng.choice(("zip", "legacy", "pickle", "list", "safetensors", "image")):
        case "zip":
            torch.save(tree, path)
        case "legacy":
            torch.save(tree, path, _use_new_zipfile_serialization=False)
        case "pickle":
            path.write_bytes(pickle.dumps(list(map(repr, tree)) if call is None else call, rng.randrange(6)))
        case "list":
            pickled(path, [tree, tree])
        case "safetensors":
            tensors = {name: torch.full(rng.choice(SHAPES[:6]), 0.1).to(rng.choice(DTYPES)) for name in tree}
            tensors.pop("__metadata__", None)
            save_file(tensors, path, {key: rng.choice(NAMES) for key in rng.sample(NAMES, 5)})
        case "image":
            plain = {
                str(name): L[:, :8] if isinstance(value, torch.Tensor) else repr(value)[:99]
                for name, value in tree.items()
            }
            embedding_image(
                path.with_suffix(".png"), plain | {"string_to_param": {"*": L[:, :8]}}, text=True, pixels=False
            )
            path.with_suffix(".png").replace(path)


def random_header(rng: random.Random) -> bytes:
    """Returns the JSON of a safetensors file whose shapes, types and offsets may contradict each other."""
    numbers = (0, 1, 2, 8, 768, 2**20, 2**31, 2**40, 2**63, -1, 1.5, None, "8")
    header: dict[str, Any] = {"__metadata__": {rng.choice(NAMES): rng.choice(NAMES) for _ in range(3)}}
    offset = 0
    for name in rng.sample(NAMES, rng.randrange(1, 6)):
        shape = [rng.choice((1, 2, 8, 768)) if rng.random() < 0.8 else rng.choice(numbers) for _ in range(2)]
        is_plain = all(isinstance(size, int) for size in shape)
        size = 4 * shape[0] * shape[1] if is_plain and rng.random() < 0.8 else rng.choice(numbers[:8])
        entry = {"dtype": rng.choice(("F32", "F32", "BF16", "F8_E4M3", "F4", "X")), "shape": shape}
        header[name] = entry | {"data_offsets": [offset, offset + size]}
        offset += size
    if rng.random() < 0.2:
        header |= {f"{rng.choice(NAMES)}{i}": header[name] for i in range(20_000)}
    return json.dumps(header).encode()
