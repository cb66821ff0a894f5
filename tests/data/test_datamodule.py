from itertools import islice
from types import SimpleNamespace

import pytest
import torch
from PIL import Image, ImageDraw

from tests.tiny import tiny_data, tiny_images, tiny_module, tiny_trainer
from tinv.concept import Concept
from tinv.data.cropped_image import crop_image
from tinv.data.crops import center_crop
from tinv.data.datamodule import ConceptDataModule
from tinv.data.images import open_image
from tinv.errors import UserError

CONCEPT = Concept(placeholder_token="<cat-toy>", initializer_token="toy")


def test_encoded_images_are_the_vaes_moments_of_both_orientations(model, tmp_path):
    data = tiny_data(tmp_path, model, flip=True)
    assert len(data.encoded_images) == len(data.images) == 3
    for path, encoded in zip(data.images, data.encoded_images, strict=True):
        image, _ = open_image(path, background="white")
        pixels = crop_image(path, image, center_crop(image.size, 32)).pixels[None]
        for moments, view in zip(encoded.views.moments, (pixels, pixels.flip(-1)), strict=True):
            assert torch.equal(moments, model.encode_images(view)[0])
    assert [len(image.views) for image in tiny_data(tmp_path, model).encoded_images] == [1, 1, 1]


def test_validation_batches_are_the_same_every_time(model, tmp_path):
    data = tiny_data(tmp_path, model)
    first, second = (list(data.val_dataloader()) for _ in range(2))
    assert sum(len(batch) for batch in first) == 4
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.noise_seeds, b.noise_seeds) and torch.equal(a.level, b.level) and a.captions == b.captions


def test_templates_follow_the_kind_of_concept_or_the_file(tmp_path):
    folder = str(tiny_images(tmp_path / "images"))
    style = ConceptDataModule(concept=Concept(placeholder_token="<ink>", kind="style"), seed=0, folder=folder)
    assert "a painting in the style of <ink>" in style.captions
    (tmp_path / "templates.txt").write_text("my {}\n# not this\n\n{} again\n")
    custom = ConceptDataModule(concept=CONCEPT, seed=0, folder=folder, templates_file=str(tmp_path / "templates.txt"))
    assert custom.captions == dict.fromkeys(["my <cat-toy>", "<cat-toy> again"], str(tmp_path / "templates.txt"))


@pytest.mark.parametrize("repeats", [1, 100, {"0.png": 7}])
def test_repeats_do_not_lengthen_the_run(model, tmp_path, repeats):
    """In diffusers' script repeats lengthen the epoch."""
    data = tiny_data(tmp_path, model, repeats=repeats)
    data.trainer = trainer_at(stop=5)
    assert len(data.train_dataloader()) == 5


def test_by_default_images_are_not_flipped_or_distorted(model, tmp_path):
    """diffusers' script flips half of the images and squashes those that are not square."""
    data = tiny_data(tmp_path, model)
    assert [len(image.views) for image in data.encoded_images] == [1, 1, 1]
    assert [image.views.geometry[0].tolist() for image in data.encoded_images] == [[40, 48, 0, 3, 32, 32]] * 3


def trainer_at(*, start=0, stop=12, rank=0, world_size=1, accumulate=1):
    """The attributes of a trainer that the data loader reads."""
    return SimpleNamespace(
        global_step=start,
        max_steps=stop,
        accumulate_grad_batches=accumulate,
        global_rank=rank,
        world_size=world_size,
    )


def augmented_data(folder, model, **options):
    """Images of three aspect ratios with every option that varies a training example."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, size in enumerate([(48, 48), (72, 40), (40, 72), (70, 40)]):
        image = Image.new("RGBA", size, (40 * i, 90, 160, 0))
        ImageDraw.Draw(image).ellipse((8, 8, 30, 30), fill=(240, 200 - 30 * i, 30, 255))
        image.save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"a photo of {{}}, red, toy, dog, a\n{{}} in the style, drawing, {'a ' * i}\n")
    settings = {
        "captions": "files",
        "shuffle_tags": True,
        "drop_tags": 0.3,
        "fit": "buckets",
        "flip": True,
        "masks": "alpha",
        "mask_floor": 0.1,
        "repeats": {"1.png": 2},
        "batch_size": 2,
        "val_draws": 6,
    }
    data = ConceptDataModule(concept=CONCEPT, seed=0, folder=str(folder), **settings | options)
    data.encode_images(model.encode_images, resolution=32)
    return data


def load_batches(data, **position):
    """The remaining batches of the run, which the training loader does not end itself, as plain values."""
    data.trainer = trainer_at(**position)
    trainer, loader = data.trainer, data.train_dataloader()
    remaining = len(loader) - trainer.global_step * trainer.accumulate_grad_batches
    return [
        [
            [tensor.tolist() for tensor in (batch.moments, batch.mask, batch.geometry, batch.level, batch.noise_seeds)],
            batch.captions,
        ]
        for batch in islice(loader, remaining)
    ]


@pytest.mark.parametrize("fit", ["buckets", "random_crop"])
def test_a_resumed_loader_yields_the_remaining_batches(model, tmp_path, fit):
    data = augmented_data(tmp_path, model, fit=fit)
    batches = load_batches(data)
    assert load_batches(data, start=5) == batches[5:]
    assert load_batches(augmented_data(tmp_path, model, fit=fit), start=7) == batches[7:]
    assert len({caption for _, captions in batches for caption in captions}) > 12


def test_batches_do_not_depend_on_num_workers(model, tmp_path):
    assert load_batches(augmented_data(tmp_path, model, num_workers=2)) == load_batches(augmented_data(tmp_path, model))


def test_two_processes_equal_one_with_twice_the_accumulation(model, tmp_path):
    data = augmented_data(tmp_path, model)
    alone = load_batches(data, stop=6, accumulate=2)
    first, second = (load_batches(data, stop=6, rank=rank, world_size=2) for rank in (0, 1))
    assert [batch for pair in zip(first, second, strict=True) for batch in pair] == alone


def test_training_on_images_of_several_sizes_with_masks(model, tmp_path):
    data = augmented_data(tmp_path, model)
    assert len({image.size for image in data.encoded_images}) == 3
    assert sum(len(batch) for batch in data.val_dataloader()) == 6
    module = tiny_module(model)
    before = module.export_vectors()["<cat-toy>"]["clip_l"]
    tiny_trainer().fit(module, data)
    assert not torch.equal(before, module.export_vectors()["<cat-toy>"]["clip_l"])


def test_white_masks_do_not_change_the_loss(model, tmp_path):
    plain = tiny_data(tmp_path / "data", model)
    (tmp_path / "masks").mkdir()
    for path in plain.images:
        Image.new("L", (48, 40), 255).save(tmp_path / "masks" / path.name)
    masked = tiny_data(tmp_path / "data", model, masks=str(tmp_path / "masks"))
    module = tiny_module(model)
    for without, batch in zip(plain.val_dataloader(), masked.val_dataloader(), strict=True):
        assert batch.mask is not None and torch.equal(module.losses(without), module.losses(batch))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fit": "stretch"}, "data.fit=stretch: must be one of crop, squash"),
        ({"background": "paper"}, "data.background"),
        ({"resolution": 0}, "data.resolution=0: must be 8 or more"),
        ({"batch_size": 0}, "data.batch_size=0: must be 1 or more"),
        ({"num_workers": -1}, "data.num_workers=-1: must be 0 or more"),
        ({"repeats": 0}, "data.repeats"),
        ({"val_draws": 0}, "data.val_draws"),
        ({"folder": "/no/such/folder"}, "no such folder"),
        ({"templates_file": "/no/such/file"}, "data.templates"),
        ({"captions": "words"}, "data.captions=words: must be one of"),
        ({"captions": "files"}, "0.png, 1.png, 2.png: no caption file"),
        ({"masks": "/no/such/folder"}, "data.masks=/no/such/folder: no such folder"),
        ({"drop_tags": 1.5, "captions": "names"}, "data.drop_tags=1.5: a probability"),
    ],
)
def test_invalid_settings_are_an_error(tmp_path, settings, message):
    settings = {"folder": str(tiny_images(tmp_path))} | settings
    with pytest.raises(UserError, match=message):
        ConceptDataModule(concept=CONCEPT, seed=0, **settings)
