import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from tinv.concept import Concept
from tinv.data.captions import CaptionConfig
from tinv.data.concept_images import ConceptImages
from tinv.data.crop_config import CropConfig
from tinv.data.encode_latents import encode_views
from tinv.errors import UserError

CONCEPT = Concept(placeholder_token="<mug>")
SIZES = {"a": (64, 64), "b": (96, 64), "c": (64, 128)}


@pytest.fixture
def folder(tmp_path):
    """Noise in three proportions."""
    chance = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        noise = chance.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        Image.fromarray(noise).resize((width, height)).save(tmp_path / f"{name}.png")
    return tmp_path


def pictures(
    folder, *, caption_config=None, seed=0, repeats=1, masks=None, mask_floor=0.0, recursive=False, **crop_config
):
    return ConceptImages(
        CONCEPT,
        folder,
        caption_config=caption_config or CaptionConfig(),
        crop_config=CropConfig(**crop_config),
        recursive=recursive,
        repeats=repeats,
        masks=masks,
        mask_floor=mask_floor,
        seed=seed,
    )


def encode(pixels):
    return torch.nn.functional.avg_pool2d(pixels, 4)[:, :2]


def test_only_the_moments_of_a_picture_are_kept(folder):
    """500 pictures must fit: pixels are gone soon after the next picture is opened."""
    decoded = []

    class Watched(ConceptImages):
        def open(self, path, resolution):
            assert sum(picture() is not None for picture in decoded) <= 1
            pictures = super().open(path, resolution)
            decoded.extend(map(weakref.ref, pictures))
            return pictures

    for i in range(3):
        Image.new("RGB", (64, 64)).save(folder / f"{i}.png")
    shown = Watched(CONCEPT, folder, caption_config=CaptionConfig(), crop_config=CropConfig()).encode(encode, 64)
    assert len(decoded) == len(shown) == 6


@pytest.mark.parametrize("masked", [False, True])
def test_what_is_kept_lies_in_one_place_and_is_what_each_picture_alone_gives(folder, tmp_path, masked):
    """Among what was freed meanwhile it would cut up the memory that training is to use: 300 MiB for 500 pictures."""
    masks = tmp_path / "masks" if masked else None
    if masked:
        masks.mkdir()
        for name, size in SIZES.items():
            Image.linear_gradient("L").resize(size).save(masks / f"{name}.png")
    found = pictures(folder, fit="buckets", masks=masks)
    views = [shown.views for shown in found.encode(encode, 64)]
    for name in ("moments", "geometry", *(["mask"] if masked else [])):
        assert len({getattr(each, name).untyped_storage().data_ptr() for each in views}) == 1
    for path, each in zip(found.images, views, strict=True):
        alone = encode_views(found.open(path, 64), encode, flip=found.crop_config.flip)
        assert torch.equal(each.moments, alone.moments) and torch.equal(each.geometry, alone.geometry)
        assert torch.equal(each.mask, alone.mask) if masked else each.mask is None


def test_buckets_keep_the_proportions_of_each_picture(folder):
    shown = pictures(folder, fit="buckets", flip=True).encode(encode, 64)
    assert [tuple(one.views.moments.shape) for one in shown] == [(2, 2, 16, 16), (2, 2, 12, 20), (2, 2, 20, 12)]
    assert [one.views.geometry[0].tolist() for one in shown] == [
        [64, 64, 0, 0, 64, 64],
        [64, 96, 3, 0, 48, 80],
        [128, 64, 8, 0, 80, 48],
    ]


def test_square_pictures_in_buckets_are_those_that_crop_shows(folder):
    only = {"b.png": 0, "c.png": 0}
    bucketed, cropped = (
        pictures(folder, fit=fit, repeats=only).open(folder / "a.png", 64) for fit in ("buckets", "crop")
    )
    assert torch.equal(bucketed[0].pixels, cropped[0].pixels)


def test_random_crops_have_their_own_moments_and_stay_where_they_are_when_pictures_are_added(folder):
    few = pictures(folder, fit="random_crop", crops=4, flip=True)
    before = few.encode(encode, 64)
    assert [len(one.views) for one in before] == [2, 8, 8]
    for one, path in zip(before, few.images, strict=True):
        for k, picture in enumerate(few.open(path, 64)):
            assert torch.equal(one.views.moments[2 * k], encode(picture.pixels[None])[0])
            assert torch.equal(one.views.moments[2 * k + 1], encode(picture.pixels.flip(-1)[None])[0])
    Image.new("RGB", (64, 64)).save(folder / "0.png")
    after = pictures(folder, fit="random_crop", crops=4, flip=True).encode(encode, 64)
    assert all(torch.equal(old.views.geometry, new.views.geometry) for old, new in zip(before, after[1:], strict=True))
    elsewhere = pictures(folder, fit="random_crop", crops=4, seed=1).open(folder / "b.png", 64)
    assert [p.crop for p in elsewhere] != [p.crop for p in few.open(folder / "b.png", 64)]


def test_small_pictures_are_named_when_they_are_enlarged(folder, recwarn):
    pictures(folder).encode(encode, 64)
    assert not recwarn
    with pytest.warns(UserWarning, match=r"a\.png, b\.png, c\.png had to be enlarged to 72 pixels"):
        pictures(folder, resolution=72).encode(encode, 64)


def test_masks_inside_the_folder_are_not_pictures(folder):
    (folder / "masks").mkdir()
    Image.new("L", SIZES["b"], "white").save(folder / "masks" / "b.png")
    with pytest.warns(UserWarning, match=r"no mask in .* for a\.png, c\.png: all of it counts"):
        found = pictures(folder, masks=folder / "masks", recursive=True)
    assert [path.name for path in found.images] == ["a.png", "b.png", "c.png"]
    shown = found.encode(encode, 64)
    assert [one.views.mask is None for one in shown] == [True, False, True]


def test_masks_in_the_very_folder_of_the_pictures_are_refused(folder):
    with pytest.raises(UserError, match=r"every picture of .* give the masks a folder of their own"):
        pictures(folder, masks=folder)
    (folder / "all").mkdir()
    for name, size in SIZES.items():
        (folder / f"{name}.png").rename(folder / "all" / f"{name}.png")
        Image.new("L", size, "white").save(folder / f"{name}.png")
    assert len(pictures(folder / "all", masks=folder).images) == 3


def test_crops_in_which_nothing_counts_are_not_shown_and_a_picture_of_them_is_refused(folder):
    (folder / "masks").mkdir()
    mask = Image.new("L", SIZES["b"], "black")
    mask.paste(255, (90, 0, 96, 64))
    mask.save(folder / "masks" / "b.png")
    only = {"a.png": 0, "c.png": 0}
    found = pictures(folder, masks=folder / "masks", repeats=only, fit="random_crop", crops=6)
    assert 0 < len(found.open(folder / "b.png", 64)) < 6
    assert all(picture.mask.any() for picture in found.open(folder / "b.png", 64))
    centre = pictures(folder, masks=folder / "masks", repeats=only)
    with pytest.raises(UserError, match=r"nothing counts in what is shown of .*b\.png; mend its mask"):
        centre.open(folder / "b.png", 64)
    assert pictures(folder, masks=folder / "masks", repeats=only, mask_floor=0.1).open(folder / "b.png", 64)


def test_alpha_is_the_mask_and_the_background_is_behind_it(folder):
    image = Image.open(folder / "b.png").convert("RGBA")
    image.putalpha(0)
    image.paste((255, 0, 0, 255), (0, 0, 48, 64))
    image.save(folder / "b.png")
    found = pictures(folder, masks="alpha", background="#00ff00", fit="squash", repeats={"a*": 0, "c*": 0})
    (picture,) = found.open(folder / "b.png", 64)
    assert picture.mask[0, 0, [0, -1]].tolist() == [1, 0]
    assert picture.pixels[:, 0, -1].tolist() == [-1, 1, -1]


def test_what_is_left_out_needs_no_caption(folder):
    (folder / "a.txt").write_text("on a table, {}")
    found = pictures(folder, caption_config=CaptionConfig(captions="files"), repeats={"b.png": 0, "c.png": 0})
    assert found.caption_sources() == {"on a table, <mug>": "a.txt"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fit": "stretch"}, r"data\.fit must be one of crop, squash, buckets, random_crop"),
        ({"crops": 0}, r"data\.crops must be 1 or more"),
        ({"fit": "buckets", "resolution": 500}, r"multiple of 64 for data\.fit=buckets, got 500; set it to 512"),
        ({"mask_floor": 0.5}, r"data\.mask_floor is for data\.masks"),
        ({"masks": "alpha", "mask_floor": 2.0}, r"data\.mask_floor must be between 0 and 1"),
        ({"masks": "alpha"}, "no picture has an alpha channel"),
    ],
)
def test_settings_that_cannot_work_are_refused(folder, settings, message):
    with pytest.raises(UserError, match=message):
        pictures(folder, **settings)
