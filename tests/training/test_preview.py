from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.tiny import tiny_model, tiny_pipeline
from tinv.cli import main
from tinv.config.validate import build
from tinv.models import load
from tinv.training.preview import first_batches, native_resolution

CONCEPT = ["concept.placeholder_token=my-toy", "concept.initializer_token=toy"]
VARIED = ["data.fit=buckets", "data.flip=true", "data.captions=names", "data.shuffle_tags=true", "data.masks=alpha"]


@pytest.fixture
def folder(tmp_path):
    """A wide image and a tall one, each transparent on its left."""
    for name, size in {"red, worn, old": (96, 64), "on a table, new": (64, 96)}.items():
        image = Image.new("RGBA", size, (0, 128, 0, 0))
        ImageDraw.Draw(image).rectangle((size[0] // 2, 0, *size), fill=(0, 128, 0, 255))
        image.save(tmp_path / f"{name}.png")
    return tmp_path


def test_preview_has_the_examples_of_the_run(compose, folder, tmp_path_factory):
    model = tiny_model(tmp_path_factory.mktemp("model"))
    cfg = compose(*CONCEPT, f"data.folder='{folder}'", *VARIED)
    batches = first_batches(build(cfg.data), resolution=32, num_samples=20)
    previewed = [(e.caption, e.noise_seed, e.geometry.tolist()) for batch in batches for e in batch]
    data = build(cfg.data)
    data.encode_images(model.encode_images, resolution=32)
    data.trainer = SimpleNamespace(global_step=0, accumulate_grad_batches=1, max_steps=5, global_rank=0, world_size=1)
    assert previewed == [
        example
        for batch in islice(data.train_dataloader(), 5)
        for example in zip(batch.captions, batch.noise_seeds.tolist(), batch.geometry.tolist(), strict=True)
    ]


def test_native_resolution_is_read_without_weights(tmp_path):
    folder = str(tiny_pipeline(tmp_path))
    expected = load(folder).resolution
    for weights in tmp_path.rglob("*.safetensors"):
        weights.unlink()
    assert native_resolution(folder, revision=None, config=None) == expected


def test_sheet_tints_masked_areas_and_lines_describe_each_image(folder, tmp_path, capsys):
    out = tmp_path / "sheets" / "preview.png"
    settings = [*CONCEPT, f"data.folder={folder}", *VARIED, "data.resolution=64", "data.batch_size=2"]
    assert main(["preview", *settings, "--samples", "4", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("on a table, new.png: 64 x 96, trained at 48 x 80, 2 views, caption 'my-toy, on a table")
    assert lines[1].endswith("mask 50%") and lines[-1] == str(out)
    colors = {tuple(color) for color in np.asarray(Image.open(out)).reshape(-1, 3).tolist()}
    assert (0, 128, 0) in colors
    assert any(red > 150 and green < 120 for red, green, _ in colors)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["data.flp=true"], "did you mean data.flip?"), ([], "broken.png"), (["--samples", "0"], "--samples")],
)
def test_preview_rejects_what_training_rejects(folder, capsys, arguments, message):
    (folder / "broken.png").write_text("no image")
    out = folder / "preview.png"
    assert main(["preview", *CONCEPT, f"data.folder={folder}", *arguments, "--out", str(out)]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_toybox_needs_no_folder(tmp_path, capsys):
    assert main(["preview", "+experiment=cat_toy", "--samples", "1", "--out", str(tmp_path / "preview.png")]) == 0
    assert capsys.readouterr().out.count("64 x 64, trained at 64 x 64") == 5
