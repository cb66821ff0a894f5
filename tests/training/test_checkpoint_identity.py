"""A run resumes with the training data of its checkpoint, or says which files differ."""

import os
import warnings
from pathlib import Path

import pytest
from PIL import Image

from tests.tiny import CAT, fit, tiny_images, tiny_module
from tinv.data.datamodule import ConceptDataModule
from tinv.errors import UserError
from tinv.models import LatentDiffusion


def make_data(folder: Path, model: LatentDiffusion) -> ConceptDataModule:
    """A datamodule over images with captions and masks."""
    options = {"captions": "files", "masks": str(folder / "masks"), "batch_size": 2, "val_draws": 4}
    data = ConceptDataModule(concept=CAT, seed=0, folder=str(folder / "images"), **options)
    data.encode_images(model.encode_images, resolution=model.resolution)
    return data


def resume(folder: Path, model: LatentDiffusion, **options: str) -> int:
    """Resumes for a second step; returns the step."""
    module = tiny_module(model, **options)
    fit(module, make_data(folder, model), 2, resume=folder / "one.ckpt")
    return module.global_step


@pytest.fixture
def folder(tmp_path: Path, model: LatentDiffusion) -> Path:
    """Three images with captions and masks, and a checkpoint that was trained on them."""
    (tmp_path / "masks").mkdir()
    for image in tiny_images(tmp_path / "images").iterdir():
        image.with_suffix(".txt").write_text("a {} on the beach")
    for i in range(3):
        Image.new("L", (48, 40), 200).save(tmp_path / "masks" / f"{i}.png")
    fit(tiny_module(model), make_data(tmp_path, model), 1).save_checkpoint(tmp_path / "one.ckpt")
    return tmp_path


def change_pixel(path: Path) -> None:
    """Changes one pixel of an image by one level."""
    image = Image.open(path).copy()
    value = image.getpixel((0, 0))
    image.putpixel((0, 0), value + 1 if isinstance(value, int) else (value[0] + 1, *value[1:]))
    image.save(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: change_pixel(folder / "images/1.png"), "changed: 1.png"),
        (lambda folder: change_pixel(folder / "masks/2.png"), "changed: the mask of 2.png"),
        (lambda folder: (folder / "images/0.txt").write_text("a {}"), "changed: the captions of 0.png"),
        (lambda folder: (folder / "masks/1.png").unlink(), "missing: the mask of 1.png"),
        (
            lambda folder: [(folder / "images" / f"0{suffix}").rename(folder / "images" / f"3{suffix}")
                            for suffix in (".png", ".txt")],
            "missing: 0.png, the mask of 0.png, the captions of 0.png; new: 3.png, the captions of 3.png",
        ),
    ],
)  # fmt: skip
def test_other_training_data_is_an_error_that_names_the_files_unless_it_is_accepted(folder, model, change, message):
    change(folder)
    with pytest.raises(UserError) as error:
        resume(folder, model)
    assert f"the training data is not that of the checkpoint: {message}. Restore" in str(error.value)
    assert "resume_data=accept" in str(error.value)
    with pytest.warns(UserWarning, match="resume_data=accept: the training data is not that of the checkpoint"):
        assert resume(folder, model, resume_data="accept") == 2


def test_the_same_data_in_another_place_at_another_time_resumes(folder, model):
    for path in folder.glob("*/*"):
        os.utime(path, (1, 1))
    (moved := folder / "moved").mkdir()
    for name in ("images", "masks", "one.ckpt"):
        (folder / name).rename(moved / name)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*training data.*")
        assert resume(moved, model) == 2
