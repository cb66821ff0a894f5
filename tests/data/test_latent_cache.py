"""Encoded pictures that are kept from run to run: the bits of encoding them anew, whatever happens to the files."""

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from torch import Tensor

from tests.composing import groups
from tests.conftest import ROOT
from tests.tiny import tiny_images, tiny_pipeline
from tinv import formats
from tinv.concept import Concept
from tinv.config.validate import ConfigError, check
from tinv.data.datamodule import ConceptDataModule
from tinv.data.latent_cache import LatentCache, cache_folder, evict_oldest
from tinv.models import LatentDiffusion
from tinv.models.vae import encoding_identity
from tinv.training.preflight import preflight
from tinv.training.run import train

CPU = torch.device("cpu")


class Counted:
    """The model's encoder, which counts."""

    def __init__(self, model: LatentDiffusion):
        self.model, self.calls = model, 0

    def __call__(self, pixels: Tensor) -> Tensor:
        self.calls += 1
        return self.model.encode_images(pixels)


def known(model: LatentDiffusion, folder: Path, max_bytes: int = 10**9) -> LatentCache:
    return LatentCache(Counted(model), folder, encoder=encoding_identity(model.vae, CPU), max_bytes=max_bytes)


def shown(model: LatentDiffusion, pictures: Path, encode: Any, **options: Any) -> list[Tensor]:
    """The moments of every view of the pictures in a folder."""
    concept = Concept(placeholder_token="<cat-toy>", initializer_token="toy")
    data = ConceptDataModule(concept=concept, seed=0, folder=str(pictures), **options)
    data.encode_images(encode, resolution=model.resolution)
    return [one.views.moments for one in data.encoded_images]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return tiny_images(tmp_path / "pictures")


def test_what_is_looked_up_is_what_encoding_anew_gives_to_the_last_bit(model, tmp_path, pictures):
    plain = shown(model, pictures, model.encode_images, flip=True)
    first, second = known(model, tmp_path), known(model, tmp_path)
    with first, second:
        for encode in (first, second):
            for old, new in zip(plain, shown(model, pictures, encode, flip=True), strict=True):
                assert torch.equal(old, new) and new.dtype == torch.float32
    assert (first.encode.calls, second.encode.calls) == (6, 0), "three pictures, both ways round"


def test_only_what_changes_what_training_shows_is_encoded_again(model, tmp_path, pictures):
    def new_ones(**options: Any) -> int:
        with known(model, tmp_path) as encode:
            shown(model, pictures, encode, **options)
        return encode.encode.calls

    assert new_ones() == 3
    assert new_ones(flip=True) == 3, "the mirrored ones"
    assert new_ones(batch_size=1, val_draws=2, repeats=3) == 0
    assert new_ones(fit="squash") == 3
    assert new_ones(resolution=16) == 3
    (pictures / "0.png").rename(pictures / "renamed.png")
    assert new_ones(flip=True) == 0, "it is the content that counts"


def test_one_weight_of_the_encoder_makes_it_another_one_and_the_decoder_does_not(model):
    before = encoding_identity(model.vae, CPU)
    last = list(model.vae.encoder.parameters())[-1]
    with torch.no_grad():
        last[-1] += 1e-6
        changed = encoding_identity(model.vae, CPU)
        last[-1] -= 1e-6
        decoder = next(model.vae.decoder.parameters())
        decoder[0] += 1
        assert encoding_identity(model.vae, CPU) == before != changed
        decoder[0] -= 1


def test_precision_and_threads_are_part_of_an_encoder(model):
    before, threads = encoding_identity(model.vae, CPU), torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert encoding_identity(model.vae, CPU) != before
    finally:
        torch.set_num_threads(threads)
    half = encoding_identity(model.vae.to(torch.bfloat16), CPU)
    model.vae.to(torch.float32)
    assert half != before


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-7],
        lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
        lambda content: b"",
        lambda content: b"not a tensor at all",
    ],
    ids=["cut short", "one bit", "empty", "something else"],
)
def test_a_damaged_file_is_told_of_and_made_anew(model, tmp_path, damage):
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with known(model, tmp_path) as encode:
        whole = encode(pixels)
        path = encode.place(pixels)
        path.write_bytes(damage(path.read_bytes()))
        with pytest.warns(UserWarning, match=r"paths\.cache_dir: .* is damaged; its picture is encoded again"):
            assert torch.equal(encode(pixels), whole)
        assert encode.encode.calls == 2
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert torch.equal(encode(pixels), whole)


def test_a_folder_that_cannot_be_written_to_is_told_of_once(model, tmp_path):
    (tmp_path / "file").touch()
    with known(model, tmp_path / "file") as encode, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for i in range(3):
            pixels = torch.full((1, 3, 32, 32), i / 3)
            assert torch.equal(encode(pixels), model.encode_images(pixels))
    (one,) = [str(warning.message) for warning in said if "paths.cache_dir" in str(warning.message)]
    assert "every run encodes its pictures anew; name another folder, or null" in one


def test_what_was_not_used_for_longest_goes_first(model, tmp_path):
    pixels = [torch.full((1, 3, 32, 32), i / 8) for i in range(6)]
    with known(model, tmp_path) as encode:
        for i, picture in enumerate(pixels):
            encode(picture)
            os.utime(encode.place(picture), (i, i))
    size = encode.place(pixels[0]).stat().st_size
    encode(pixels[0])  # used just now
    draft = encode.folder / "00" / ".left.1.part"
    draft.parent.mkdir(exist_ok=True)
    draft.touch()
    os.utime(draft, (time.time() - 10**6,) * 2)
    evict_oldest(encode.folder, 6 * size)
    assert all(encode.place(picture).exists() for picture in pixels) and not draft.exists()
    evict_oldest(encode.folder, int(3.9 * size))
    assert [i for i, picture in enumerate(pixels) if encode.place(picture).exists()] == [0, 4, 5]


def test_leaving_makes_room(model, tmp_path):
    with known(model, tmp_path, max_bytes=50_000) as encode:
        for i in range(8):
            encode(torch.full((1, 3, 32, 32), i / 8))
    assert 20_000 < sum(path.stat().st_size for path in encode.folder.rglob("*.pt")) <= 45_000


def test_processes_that_write_the_same_files_at_once_do_not_hurt_each_other(model, tmp_path):
    code = f"""
import sys, torch
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tinv.data.latent_cache import LatentCache
encode = lambda pixels: pixels.mean((2, 3), keepdim=True).expand(1, 3, 64, 64).contiguous()
for turn in range(30):
    known = LatentCache(encode, Path({str(tmp_path)!r}), encoder="one", most_bytes=100_000)
    with known:
        for i in range(4):
            pixels = torch.full((1, 3, 8, 8), float(i + turn % 3))
            assert torch.equal(known(pixels), encode(pixels))
"""
    command = [sys.executable, "-W", "error", "-c", code]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=600)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert not list(tmp_path.rglob("*.part"))


# --- where it is, and runs


def test_the_cache_folder_is_the_users_unless_it_is_set(monkeypatch, tmp_path):
    monkeypatch.setenv("TINV_CACHE", str(tmp_path / "own"))
    assert cache_folder("auto") == tmp_path / "own"
    monkeypatch.delenv("TINV_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("auto") == tmp_path / "tinv"
    assert cache_folder("~/here") == Path.home() / "here"
    assert cache_folder(None) is None


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_next_run_learns_the_same_and_encodes_nothing(tmp_path, monkeypatch, compose):
    tiny_pipeline(tmp_path / "model")
    tiny_images(tmp_path / "pictures")
    calls = []
    encode = LatentDiffusion.encode_images
    monkeypatch.setattr(LatentDiffusion, "encode_images", lambda self, x: calls.append(1) or encode(self, x))

    def run(name: str, *overrides: str) -> tuple[int, Tensor]:
        calls.clear()
        told = [
            "model=local",
            f"model.pretrained={tmp_path / 'model'}",
            f"data.folder={tmp_path / 'pictures'}",
            "concept.placeholder_token=my-cat",
            "concept.initializer_token=toy",
            "data.batch_size=2",
            "data.val_draws=2",
            "trainer.accelerator=cpu",
            "trainer.max_steps=2",
            "~callbacks.samples",
            f"paths.cache_dir={tmp_path / 'cache'}",
            *overrides,
        ]
        train(check(groups().compose(told, output_dir=str(tmp_path / name))))
        HydraConfig.instance().cfg = None
        return len(calls), formats.read(tmp_path / name).vectors["clip_l"]

    first, second, without = run("first"), run("second"), run("without", "paths.cache_dir=null")
    assert [calls for calls, _ in (first, second, without)] == [3, 0, 3]
    assert torch.equal(first[1], second[1]) and torch.equal(first[1], without[1])


def test_a_size_that_holds_nothing_is_refused(compose):
    with pytest.raises(
        ConfigError, match=r"paths\.cache_max_gb must be above 0, got 0\.0; paths\.cache_dir=null keeps"
    ):
        preflight(compose("+experiment=cat_toy", "paths.cache_max_gb=0.0"))
