from types import SimpleNamespace

import pytest
import torch
from PIL import Image, ImageDraw

from tests.tiny import tiny_data, tiny_images, tiny_module, tiny_trainer
from tinv.concept import Concept
from tinv.data.crops import center_crop
from tinv.data.datamodule import ConceptDataModule
from tinv.data.images import crop_image, open_image
from tinv.errors import UserError

CONCEPT = Concept(placeholder_token="<cat-toy>", initializer_token="toy")


def test_cached_moments_are_those_of_the_vae_in_both_orientations(model, tmp_path):
    """E-13: the reference script has the VAE encode every picture at every step."""
    data = tiny_data(tmp_path, model, flip=True)
    assert len(data.encoded_images) == len(data.images) == 3
    for path, shown in zip(data.images, data.encoded_images, strict=True):
        image, _ = open_image(path, background="white")
        pixels = crop_image(path, image, center_crop(image.size, 32)).pixels[None]
        for moments, seen in zip(shown.views.moments, (pixels, pixels.flip(-1)), strict=True):
            assert torch.equal(moments, model.encode_images(seen)[0])
    assert [len(shown.views) for shown in tiny_data(tmp_path, model).shown] == [1, 1, 1]


def test_validation_batches_are_the_same_every_time(model, tmp_path):
    data = tiny_data(tmp_path, model)
    first, second = (list(data.val_dataloader()) for _ in range(2))
    assert sum(len(batch) for batch in first) == 4
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.draws, b.draws) and torch.equal(a.level, b.level) and a.captions == b.captions


def test_styles_get_style_captions_and_own_templates_win(tmp_path):
    folder = str(tiny_images(tmp_path / "pictures"))
    style = ConceptDataModule(concept=Concept(placeholder_token="<ink>", kind="style"), seed=0, folder=folder)
    assert "a painting in the style of <ink>" in style.captions
    (tmp_path / "own.txt").write_text("my {}\n# not this\n\n{} again\n")
    own = ConceptDataModule(concept=CONCEPT, seed=0, folder=folder, templates_file=str(tmp_path / "own.txt"))
    assert own.captions == dict.fromkeys(["my <cat-toy>", "<cat-toy> again"], str(tmp_path / "own.txt"))


@pytest.mark.parametrize("repeats", [1, 100, {"0.png": 7}])
def test_repeats_make_no_run_longer(model, tmp_path, repeats):
    """diffusers inflates its epoch by them, and whatever counts epochs breaks (E-31)."""
    data = tiny_data(tmp_path, model, repeats=repeats)
    data.trainer = position(stop=5)
    assert len(data.train_dataloader()) == len(list(data.train_dataloader())) == 5


def test_by_default_nothing_is_mirrored_or_distorted(model, tmp_path):
    """diffusers mirrors half of all pictures and squashes those that are not square, unasked (E-20)."""
    data = tiny_data(tmp_path, model)
    assert [len(shown.views) for shown in data.encoded_images] == [1, 1, 1]
    assert [shown.views.geometry[0].tolist() for shown in data.encoded_images] == [[40, 48, 0, 3, 32, 32]] * 3


def position(*, start=0, stop=12, rank=0, world_size=1, accumulate=1):
    """Where a trainer stands, as far as the loader asks."""
    return SimpleNamespace(
        global_step=start,
        max_steps=stop,
        accumulate_grad_batches=accumulate,
        global_rank=rank,
        world_size=world_size,
    )


def everything(folder, model, **options):
    """Pictures of three proportions with masks, captions and counts of their own; every option that varies a sample."""
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


def dealt(data, **where):
    """What a loader gives, as plain values."""
    data.trainer = position(**where)
    return [
        [
            [tensor.tolist() for tensor in (batch.moments, batch.mask, batch.geometry, batch.level, batch.draws)],
            batch.captions,
        ]
        for batch in data.train_dataloader()
    ]


@pytest.mark.parametrize("fit", ["buckets", "random_crop"])
def test_a_resumed_loader_goes_on_with_every_option_on(model, tmp_path, fit):
    data = everything(tmp_path, model, fit=fit)
    whole = dealt(data)
    assert dealt(data, start=5) == whole[5:]
    assert dealt(everything(tmp_path, model, fit=fit), start=7) == whole[7:]
    assert len({caption for _, captions in whole for caption in captions}) > 12


def test_workers_make_no_difference_with_every_option_on(model, tmp_path):
    assert dealt(everything(tmp_path, model, num_workers=2)) == dealt(everything(tmp_path, model))


def test_two_processes_show_what_one_with_twice_the_accumulation_does(model, tmp_path):
    data = everything(tmp_path, model)
    alone = dealt(data, stop=6, accumulate=2)
    first, second = (dealt(data, stop=6, rank=rank, world_size=2) for rank in (0, 1))
    assert [batch for pair in zip(first, second, strict=True) for batch in pair] == alone


def test_pictures_of_several_sizes_with_masks_are_learned_from(model, tmp_path):
    data = everything(tmp_path, model)
    assert len({shown.size for shown in data.encoded_images}) == 3
    assert sum(len(batch) for batch in data.val_dataloader()) == 6
    module = tiny_module(model)
    before = module.export_vectors()["<cat-toy>"]["clip_l"]
    tiny_trainer().fit(module, data)
    assert not torch.equal(before, module.export_vectors()["<cat-toy>"]["clip_l"])


def test_where_everything_counts_the_loss_is_the_plain_one_to_the_last_bit(model, tmp_path):
    plain = tiny_data(tmp_path / "data", model)
    (tmp_path / "masks").mkdir()
    for path in plain.images:
        Image.new("L", (48, 40), 255).save(tmp_path / "masks" / path.name)
    masked = tiny_data(tmp_path / "data", model, masks=str(tmp_path / "masks"))
    module = tiny_module(model)
    for one, other in zip(plain.val_dataloader(), masked.val_dataloader(), strict=True):
        assert other.mask is not None and torch.equal(module.losses(one), module.losses(other))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fit": "stretch"}, "data.fit must be one of crop, squash"),
        ({"background": "paper"}, "data.background"),
        ({"resolution": 0}, "data.resolution must be 8 or more"),
        ({"batch_size": 0}, "data.batch_size must be 1 or more"),
        ({"num_workers": -1}, "data.num_workers must be 0 or more"),
        ({"repeats": 0}, "data.repeats"),
        ({"val_draws": 0}, "data.val_draws"),
        ({"folder": "/no/such/folder"}, "there is no folder"),
        ({"templates_file": "/no/such/file"}, "data.templates"),
        ({"captions": "words"}, "data.captions must be one of"),
        ({"captions": "files"}, "no caption beside 0.png, 1.png, 2.png"),
        ({"masks": "/no/such/folder"}, "data.masks: there is no folder"),
        ({"drop_tags": 1.5, "captions": "names"}, "data.drop_tags is a share"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_opened(tmp_path, settings, message):
    settings = {"folder": str(tiny_images(tmp_path))} | settings
    with pytest.raises(UserError, match=message):
        ConceptDataModule(concept=CONCEPT, seed=0, **settings)
