from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.tiny import tiny_model, tiny_pipeline
from tinv.cli import main
from tinv.config.validate import build
from tinv.models import load
from tinv.training.preview import first_batches, native_resolution

WORD = ["concept.placeholder_token=my-toy", "concept.initializer_token=toy"]
VARIED = ["data.fit=buckets", "data.flip=true", "data.captions=names", "data.shuffle_tags=true", "data.masks=alpha"]


@pytest.fixture
def folder(tmp_path):
    """A wide picture and a tall one, each transparent on its left."""
    for name, size in {"red, worn, old": (96, 64), "on a table, new": (64, 96)}.items():
        image = Image.new("RGBA", size, (0, 128, 0, 0))
        ImageDraw.Draw(image).rectangle((size[0] // 2, 0, *size), fill=(0, 128, 0, 255))
        image.save(tmp_path / f"{name}.png")
    return tmp_path


def test_what_is_shown_is_what_the_run_will_see(compose, folder, tmp_path_factory):
    model = tiny_model(tmp_path_factory.mktemp("model"))
    cfg = compose(*WORD, f"data.folder='{folder}'", *VARIED)
    seen = [sample for batch in first_batches(build(cfg.data), resolution=32, num_samples=20) for sample in batch]
    data = build(cfg.data)
    data.encode_images(model.encode_images, resolution=32)
    data.trainer = SimpleNamespace(global_step=0, accumulate_grad_batches=1, max_steps=5, global_rank=0, world_size=1)
    run = list(data.train_dataloader())
    assert [sample.caption for sample in seen] == [caption for batch in run for caption in batch.captions]
    assert [sample.noise_seed for sample in seen] == [draw for batch in run for draw in batch.noise_seeds.tolist()]
    assert [s.geometry.tolist() for s in seen] == [geometry for batch in run for geometry in batch.geometry.tolist()]


def test_the_models_own_size_is_known_without_its_weights(tmp_path):
    place = str(tiny_pipeline(tmp_path))
    expected = load(place).resolution
    for weights in tmp_path.rglob("*.safetensors"):
        weights.unlink()
    assert native_resolution(place, revision=None, config=None) == expected


def test_the_sheet_veils_what_does_not_count_and_the_lines_say_what_becomes_of_each_picture(folder, tmp_path, capsys):
    out = tmp_path / "sheets" / "seen.png"
    settings = [*WORD, f"data.folder={folder}", *VARIED, "data.resolution=64", "data.batch_size=2"]
    assert main(["preview", *settings, "--samples", "4", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("on a table, new.png: 64 x 96, shown as 48 x 80, in 2 ways, called 'my-toy, on a table")
    assert lines[1].endswith("50% of it counts") and lines[-1] == str(out)
    colours = {tuple(colour) for colour in np.asarray(Image.open(out)).reshape(-1, 3).tolist()}
    assert (0, 128, 0) in colours
    assert any(red > 150 and green < 120 for red, green, _ in colours)


def test_it_takes_what_a_run_takes_and_refuses_what_a_run_refuses(folder, tmp_path, capsys):
    out = tmp_path / "seen.png"
    assert main(["preview", *WORD, f"data.folder={folder}", "data.flp=true", "--out", str(out)]) == 1
    assert "did you mean data.flip?" in capsys.readouterr().err
    (folder / "broken.png").write_text("no picture")
    assert main(["preview", *WORD, f"data.folder={folder}", "--out", str(out)]) == 1
    assert "broken.png cannot be read" in capsys.readouterr().err
    assert main(["preview", *WORD, f"data.folder={folder}", "--samples", "0"]) == 1
    assert not out.exists()


def test_the_toybox_needs_no_folder(tmp_path, capsys):
    assert main(["preview", "+experiment=cat_toy", "--samples", "1", "--out", str(tmp_path / "seen.png")]) == 0
    assert capsys.readouterr().out.count("64 x 64, shown as 64 x 64") == 5
