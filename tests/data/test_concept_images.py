import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from tinv.concept import Concept
from tinv.data.captions import CaptionConfig
from tinv.data.concept_images import ConceptImages, count_repeats
from tinv.data.crop_config import CropConfig
from tinv.data.encode_latents import encode_views
from tinv.errors import UserError

CONCEPT = Concept(placeholder_token="<mug>")
SIZES = {"a": (64, 64), "b": (96, 64), "c": (64, 128)}


@pytest.fixture
def folder(tmp_path):
    """Noise images with three aspect ratios."""
    rng = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        noise = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        Image.fromarray(noise).resize((width, height)).save(tmp_path / f"{name}.png")
    return tmp_path


def make_images(
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


def test_only_the_moments_of_an_image_stay_in_memory(folder):
    """Pixels are freed soon after the next image is opened, so that 500 images fit."""
    decoded = []

    class RecordingImages(ConceptImages):
        def load_crops(self, path, resolution):
            assert sum(crop() is not None for crop in decoded) <= 1
            crops = super().load_crops(path, resolution)
            decoded.extend(map(weakref.ref, crops))
            return crops

    for i in range(3):
        Image.new("RGB", (64, 64)).save(folder / f"{i}.png")
    encoded = RecordingImages(CONCEPT, folder, caption_config=CaptionConfig(), crop_config=CropConfig()).encode(
        encode, 64
    )
    assert len(decoded) == len(encoded) == 6


@pytest.mark.parametrize("masked", [False, True])
def test_moments_share_one_block_of_memory_and_equal_those_of_each_image_alone(folder, tmp_path, masked):
    """Scattered between freed images they would fragment the heap: 300 MiB for 500 images."""
    masks = tmp_path / "masks" if masked else None
    if masked:
        masks.mkdir()
        for name, size in SIZES.items():
            Image.linear_gradient("L").resize(size).save(masks / f"{name}.png")
    images = make_images(folder, fit="buckets", masks=masks)
    views = [image.views for image in images.encode(encode, 64)]
    for name in ("moments", "geometry", *(["mask"] if masked else [])):
        assert len({getattr(view, name).untyped_storage().data_ptr() for view in views}) == 1
    for path, view in zip(images.paths, views, strict=True):
        alone = encode_views(images.load_crops(path, 64), encode, flip=images.crop_config.flip)
        assert torch.equal(view.moments, alone.moments) and torch.equal(view.geometry, alone.geometry)
        assert torch.equal(view.mask, alone.mask) if masked else view.mask is None


def test_buckets_keep_the_aspect_ratio_of_each_image(folder):
    encoded = make_images(folder, fit="buckets", flip=True).encode(encode, 64)
    assert [tuple(image.views.moments.shape) for image in encoded] == [(2, 2, 16, 16), (2, 2, 12, 20), (2, 2, 20, 12)]
    assert [image.views.geometry[0].tolist() for image in encoded] == [
        [64, 64, 0, 0, 64, 64],
        [64, 96, 3, 0, 48, 80],
        [128, 64, 8, 0, 80, 48],
    ]


def test_a_square_image_is_the_same_with_crop_and_buckets(folder):
    only = {"b.png": 0, "c.png": 0}
    bucketed, cropped = (
        make_images(folder, fit=fit, repeats=only).load_crops(folder / "a.png", 64) for fit in ("buckets", "crop")
    )
    assert torch.equal(bucketed[0].pixels, cropped[0].pixels)


def test_random_crops_do_not_depend_on_the_other_images(folder):
    few = make_images(folder, fit="random_crop", crops=4, flip=True)
    before = few.encode(encode, 64)
    assert [len(image.views) for image in before] == [2, 8, 8]
    for image, path in zip(before, few.paths, strict=True):
        for k, crop in enumerate(few.load_crops(path, 64)):
            assert torch.equal(image.views.moments[2 * k], encode(crop.pixels[None])[0])
            assert torch.equal(image.views.moments[2 * k + 1], encode(crop.pixels.flip(-1)[None])[0])
    Image.new("RGB", (64, 64)).save(folder / "0.png")
    after = make_images(folder, fit="random_crop", crops=4, flip=True).encode(encode, 64)
    assert all(torch.equal(old.views.geometry, new.views.geometry) for old, new in zip(before, after[1:], strict=True))
    elsewhere = make_images(folder, fit="random_crop", crops=4, seed=1).load_crops(folder / "b.png", 64)
    assert [p.crop for p in elsewhere] != [p.crop for p in few.load_crops(folder / "b.png", 64)]


def test_a_warning_names_upscaled_images(folder, recwarn):
    make_images(folder).encode(encode, 64)
    assert not recwarn
    with pytest.warns(UserWarning, match=r"a\.png, b\.png, c\.png: upscaled to 72 pixels"):
        make_images(folder, resolution=72).encode(encode, 64)


def test_masks_inside_the_folder_are_not_images(folder):
    (folder / "masks").mkdir()
    Image.new("L", SIZES["b"], "white").save(folder / "masks" / "b.png")
    with pytest.warns(UserWarning, match=r"a\.png, c\.png: no mask in .*; every pixel counts"):
        images = make_images(folder, masks=folder / "masks", recursive=True)
    assert [path.name for path in images.paths] == ["a.png", "b.png", "c.png"]
    encoded = images.encode(encode, 64)
    assert [image.views.mask is None for image in encoded] == [True, False, True]


def test_masks_need_their_own_folder(folder):
    with pytest.raises(UserError, match=r"contains every image of data\.folder=.* Use a separate folder"):
        make_images(folder, masks=folder)
    (folder / "all").mkdir()
    for name, size in SIZES.items():
        (folder / f"{name}.png").rename(folder / "all" / f"{name}.png")
        Image.new("L", size, "white").save(folder / f"{name}.png")
    assert len(make_images(folder / "all", masks=folder).paths) == 3


def test_crops_with_a_black_mask_are_dropped_and_an_image_with_no_other_is_an_error(folder):
    (folder / "masks").mkdir()
    mask = Image.new("L", SIZES["b"], "black")
    mask.paste(255, (90, 0, 96, 64))
    mask.save(folder / "masks" / "b.png")
    only = {"a.png": 0, "c.png": 0}
    images = make_images(folder, masks=folder / "masks", repeats=only, fit="random_crop", crops=6)
    assert 0 < len(images.load_crops(folder / "b.png", 64)) < 6
    assert all(crop.mask.any() for crop in images.load_crops(folder / "b.png", 64))
    center = make_images(folder, masks=folder / "masks", repeats=only)
    with pytest.raises(UserError, match=r"the mask of .*b\.png is black in every crop\. Correct the mask"):
        center.load_crops(folder / "b.png", 64)
    assert make_images(folder, masks=folder / "masks", repeats=only, mask_floor=0.1).load_crops(folder / "b.png", 64)


def test_alpha_is_the_mask_and_the_background_is_behind_it(folder):
    image = Image.open(folder / "b.png").convert("RGBA")
    image.putalpha(0)
    image.paste((255, 0, 0, 255), (0, 0, 48, 64))
    image.save(folder / "b.png")
    images = make_images(folder, masks="alpha", background="#00ff00", fit="squash", repeats={"a*": 0, "c*": 0})
    (crop,) = images.load_crops(folder / "b.png", 64)
    assert crop.mask[0, 0, [0, -1]].tolist() == [1, 0]
    assert crop.pixels[:, 0, -1].tolist() == [-1, 1, -1]


def test_an_image_with_0_repeats_needs_no_caption(folder):
    (folder / "a.txt").write_text("on a table, {}")
    images = make_images(folder, caption_config=CaptionConfig(captions="files"), repeats={"b.png": 0, "c.png": 0})
    assert images.caption_sources() == {"on a table, <mug>": "a.txt"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fit": "stretch"}, r"data\.fit=stretch: must be one of crop, squash, buckets, random_crop"),
        ({"crops": 0}, r"data\.crops=0: must be 1 or more"),
        (
            {"fit": "buckets", "resolution": 500},
            r"data\.resolution=500: data\.fit=buckets needs a multiple of 64\. Set data\.resolution=512",
        ),
        ({"mask_floor": 0.5}, r"data\.mask_floor=0\.5 needs data\.masks"),
        ({"masks": "alpha", "mask_floor": 2.0}, r"data\.mask_floor=2\.0: must be between 0 and 1"),
        ({"masks": "alpha"}, "no image has an alpha channel"),
    ],
)
def test_invalid_settings_are_an_error(folder, settings, message):
    with pytest.raises(UserError, match=message):
        make_images(folder, **settings)


NAMES = ["front.jpg", "front 2.jpg", "side.jpg", "10_mugs/front.jpg", "10_mugs/2_worn/a.jpg"]


def count(tmp_path, repeats):
    counts = count_repeats([tmp_path / name for name in NAMES], repeats, root=tmp_path)
    return {path.relative_to(tmp_path).as_posix(): times for path, times in counts.items()}


def test_folder_names_multiply_repeats(tmp_path):
    assert count(tmp_path, 1) == dict(zip(NAMES, [1, 1, 1, 10, 20], strict=True))
    assert count(tmp_path, 3) == dict(zip(NAMES, [3, 3, 3, 30, 60], strict=True))


def test_the_last_matching_pattern_decides(tmp_path):
    assert list(count(tmp_path, {"front*": 2, "side.jpg": 5}).values()) == [2, 2, 5, 20, 20]
    assert list(count(tmp_path, {"*": 2, "front.jpg": 3}).values()) == [3, 2, 2, 30, 40]
    assert list(count(tmp_path, {"10_mugs/*": 3}).values()) == [1, 1, 1, 30, 60]


def test_0_repeats_exclude_an_image(tmp_path):
    assert list(count(tmp_path, {"front*": 0})) == ["side.jpg", "10_mugs/2_worn/a.jpg"]


@pytest.mark.parametrize(
    ("repeats", "message"),
    [
        (0, "data.repeats=0: must be 1 or more"),
        ({"side.jpg": -1}, "side.jpg: -1 must be 0 .* or more"),
        ({"sid.jpg": 2}, "sid.jpg matches no image. One of the names is front.jpg"),
        ({"*": 0}, "excludes every image"),
    ],
)
def test_invalid_repeats_are_an_error(tmp_path, repeats, message):
    with pytest.raises(UserError, match=message):
        count(tmp_path, repeats)
