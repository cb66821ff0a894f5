"""Cached moments equal newly encoded ones to the last bit, whatever happens to the files."""

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


class CountingEncoder:
    """The model's encoder, with a count of its calls."""

    def __init__(self, model: LatentDiffusion):
        self.model, self.calls = model, 0

    def __call__(self, pixels: Tensor) -> Tensor:
        self.calls += 1
        return self.model.encode_images(pixels)


def make_cache(model: LatentDiffusion, folder: Path, max_bytes: int = 10**9) -> LatentCache:
    return LatentCache(
        CountingEncoder(model), folder, encoder_id=encoding_identity(model.vae, CPU), max_bytes=max_bytes
    )


def encode_folder(model: LatentDiffusion, images: Path, encode: Any, **options: Any) -> list[Tensor]:
    """The moments of every view of the images in a folder."""
    concept = Concept(placeholder_token="<cat-toy>", initializer_token="toy")
    data = ConceptDataModule(concept=concept, seed=0, folder=str(images), **options)
    data.encode_images(encode, resolution=model.resolution)
    return [image.views.moments for image in data.encoded_images]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tiny_images(tmp_path / "images")


def test_cached_moments_equal_newly_encoded_ones_to_the_last_bit(model, tmp_path, images):
    plain = encode_folder(model, images, model.encode_images, flip=True)
    first, second = make_cache(model, tmp_path), make_cache(model, tmp_path)
    with first, second:
        for encode in (first, second):
            for old, new in zip(plain, encode_folder(model, images, encode, flip=True), strict=True):
                assert torch.equal(old, new) and new.dtype == torch.float32
    assert (first.encode.calls, second.encode.calls) == (6, 0), "three images in two orientations"


def test_only_settings_that_change_the_pixels_cause_encoding(model, tmp_path, images):
    def num_encoded(**options: Any) -> int:
        with make_cache(model, tmp_path) as encode:
            encode_folder(model, images, encode, **options)
        return encode.encode.calls

    assert num_encoded() == 3
    assert num_encoded(flip=True) == 3, "the mirror images"
    assert num_encoded(batch_size=1, val_draws=2, repeats=3) == 0
    assert num_encoded(fit="squash") == 3
    assert num_encoded(resolution=16) == 3
    (images / "0.png").rename(images / "renamed.png")
    assert num_encoded(flip=True) == 0, "the file name is irrelevant"


def test_encoder_id_depends_on_every_weight_of_the_encoder_but_not_on_the_decoder(model):
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


def test_encoder_id_depends_on_precision_and_threads(model):
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
def test_a_damaged_file_causes_a_warning_and_is_replaced(model, tmp_path, damage):
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with make_cache(model, tmp_path) as encode:
        moments = encode(pixels)
        path = encode.path_of(pixels)
        path.write_bytes(damage(path.read_bytes()))
        with pytest.warns(UserWarning, match=r"paths\.cache_dir: .* is damaged; its image is encoded again"):
            assert torch.equal(encode(pixels), moments)
        assert encode.encode.calls == 2
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert torch.equal(encode(pixels), moments)


def test_an_unwritable_folder_causes_one_warning(model, tmp_path):
    (tmp_path / "file").touch()
    with make_cache(model, tmp_path / "file") as encode, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i in range(3):
            pixels = torch.full((1, 3, 32, 32), i / 3)
            assert torch.equal(encode(pixels), model.encode_images(pixels))
    (message,) = [str(warning.message) for warning in caught if "paths.cache_dir" in str(warning.message)]
    assert "every run encodes its images again. Set paths.cache_dir to another folder, or to null." in message


def test_the_least_recently_used_entries_are_evicted_first(model, tmp_path):
    pixels = [torch.full((1, 3, 32, 32), i / 8) for i in range(6)]
    with make_cache(model, tmp_path) as encode:
        for i, image in enumerate(pixels):
            encode(image)
            os.utime(encode.path_of(image), (i, i))
    size = encode.path_of(pixels[0]).stat().st_size
    encode(pixels[0])  # used just now
    draft = encode.folder / "00" / ".left.1.part"
    draft.parent.mkdir(exist_ok=True)
    draft.touch()
    os.utime(draft, (time.time() - 10**6,) * 2)
    evict_oldest(encode.folder, 6 * size)
    assert all(encode.path_of(image).exists() for image in pixels) and not draft.exists()
    evict_oldest(encode.folder, int(3.9 * size))
    assert [i for i, image in enumerate(pixels) if encode.path_of(image).exists()] == [0, 4, 5]


def test_leaving_the_block_evicts_entries(model, tmp_path):
    with make_cache(model, tmp_path, max_bytes=50_000) as encode:
        for i in range(8):
            encode(torch.full((1, 3, 32, 32), i / 8))
    assert 20_000 < sum(path.stat().st_size for path in encode.folder.rglob("*.pt")) <= 45_000


def test_processes_can_write_the_same_files_at_the_same_time(model, tmp_path):
    code = f"""
import sys, torch
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tinv.data.latent_cache import LatentCache
encode = lambda pixels: pixels.mean((2, 3), keepdim=True).expand(1, 3, 64, 64).contiguous()
for turn in range(30):
    cached = LatentCache(encode, Path({str(tmp_path)!r}), encoder_id="one", max_bytes=100_000)
    with cached:
        for i in range(4):
            pixels = torch.full((1, 3, 8, 8), float(i + turn % 3))
            assert torch.equal(cached(pixels), encode(pixels))
"""
    command = [sys.executable, "-W", "error", "-c", code]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=600)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    assert not list(tmp_path.rglob("*.part"))


def test_the_cache_folder_is_the_users_unless_it_is_set(monkeypatch, tmp_path):
    monkeypatch.setenv("TINV_CACHE", str(tmp_path / "own"))
    assert cache_folder("auto") == tmp_path / "own"
    monkeypatch.delenv("TINV_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("auto") == tmp_path / "tinv"
    assert cache_folder("~/here") == Path.home() / "here"
    assert cache_folder(None) is None


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_second_run_encodes_nothing_and_learns_the_same(tmp_path, monkeypatch, compose):
    tiny_pipeline(tmp_path / "model")
    tiny_images(tmp_path / "images")
    calls = []
    encode = LatentDiffusion.encode_images
    monkeypatch.setattr(LatentDiffusion, "encode_images", lambda self, x: calls.append(1) or encode(self, x))

    def run(name: str, *overrides: str) -> tuple[int, Tensor]:
        calls.clear()
        arguments = [
            "model=local",
            f"model.pretrained={tmp_path / 'model'}",
            f"data.folder={tmp_path / 'images'}",
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
        train(check(groups().compose(arguments, output_dir=str(tmp_path / name))))
        HydraConfig.instance().cfg = None
        return len(calls), formats.read(tmp_path / name).vectors["clip_l"]

    first, second, without = run("first"), run("second"), run("without", "paths.cache_dir=null")
    assert [calls for calls, _ in (first, second, without)] == [3, 0, 3]
    assert torch.equal(first[1], second[1]) and torch.equal(first[1], without[1])


def test_a_cache_size_of_0_is_an_error(compose):
    with pytest.raises(ConfigError, match=r"paths\.cache_max_gb=0\.0: must be above 0"):
        preflight(compose("+experiment=cat_toy", "paths.cache_max_gb=0.0"))
