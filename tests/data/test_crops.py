import numpy as np
import pytest
import torch
from PIL import Image

from tinv.data.crops import bucket, bucket_sizes, bucket_step, center_crop, random_crops, squash
from tinv.data.images import crop_image
from tinv.seeding import generator

SIZES = [(1440, 1440), (1600, 900), (900, 1600), (4000, 3000), (641, 480), (37, 1000), (1000, 37), (513, 511)]


def some_crops(size, count=5, seed=0):
    return random_crops(size, 64, count=count, chance=generator(seed))


def test_crop_is_the_centred_square_and_squash_is_everything():
    assert center_crop((64, 16), 16).box == (24, 0, 40, 16)
    assert center_crop((64, 16), 16).geometry().tolist() == [16, 64, 0, 24, 16, 16]
    assert squash((64, 16), 16).box == (0, 0, 64, 16)
    assert squash((64, 16), 16).geometry().tolist() == [16, 64, 0, 0, 16, 16]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fit", [center_crop, bucket, lambda size, resolution: some_crops(size)[-1]])
def test_what_is_cut_is_never_distorted_and_lies_within_the_picture(fit, size):
    crop = fit(size, 512)
    left, top, right, bottom = crop.box
    assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
    assert (right - left) / (bottom - top) == pytest.approx(crop.size[0] / crop.size[1])
    assert (right - left, bottom - top)[right - left != size[0]] == pytest.approx(size[right - left != size[0]])


@pytest.mark.parametrize("resolution", [32, 64, 256, 512, 768, 1024])
def test_buckets_have_about_the_area_of_the_square_and_never_more(resolution):
    step = bucket_step(resolution)
    sizes = bucket_sizes(resolution)
    assert sizes[0] == (resolution, resolution)
    assert {(high, wide) for wide, high in sizes} == set(sizes) and len(set(sizes)) == len(sizes)
    for wide, high in sizes:
        assert wide % step == high % step == 0
        assert resolution**2 - step * wide * (wide > high) - step * high * (high > wide) <= wide * high <= resolution**2


def test_at_1024_the_buckets_are_those_of_sdxl():
    assert {(1152, 896), (896, 1152), (1216, 832), (1344, 768), (1536, 640), (2048, 512)} <= set(bucket_sizes(1024))


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_goes_to_the_bucket_that_cuts_off_least(size):
    def kept(other):
        return min(size[0] / size[1] / (other[0] / other[1]), other[0] / other[1] / (size[0] / size[1]))

    assert kept(bucket(size, 512).size) == pytest.approx(max(map(kept, bucket_sizes(512))))


def test_random_crops_are_different_spread_over_the_picture_and_the_same_every_time():
    lefts = [crop.box[0] for crop in some_crops((1000, 100))]
    assert (
        lefts
        == [crop.box[0] for crop in some_crops((1000, 100))]
        != [c.box[0] for c in some_crops((1000, 100), seed=1)]
    )
    assert all(180 * k <= left <= 180 * (k + 1) for k, left in enumerate(lefts))
    assert [crop.box[1] for crop in some_crops((100, 1000))] == lefts


def test_a_square_has_only_one_crop_and_a_narrow_strip_of_choice_gives_no_crop_twice():
    assert [crop.box for crop in some_crops((100, 100))] == [(0, 0, 100, 100)]
    boxes = [crop.box for crop in some_crops((102, 100), count=20)]
    assert len(boxes) == len(set(boxes)) <= 3


@pytest.mark.parametrize("crop", [center_crop((90, 60), 32), bucket((90, 60), 32), *some_crops((90, 60))])
def test_a_cut_of_the_mirrored_picture_is_the_mirrored_cut(tmp_path, crop):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8))
    plain = crop_image(tmp_path, image, crop).mirrored()
    other = crop_image(tmp_path, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), crop.mirrored())
    torch.testing.assert_close(plain.pixels, other.pixels, atol=2 / 127.5, rtol=0)
    assert torch.equal(plain.geometry, other.geometry)


def test_the_geometry_is_in_pixels_of_the_scaled_picture():
    """SDXL was told the size of the file, and where the crop began after scaling."""
    crop = bucket((1600, 800), 512)
    assert crop.size == (704, 320)
    scale = 704 / (crop.box[2] - crop.box[0])
    assert crop.geometry().tolist() == [800, 1600, round(crop.box[1] * scale), round(crop.box[0] * scale), 320, 704]


def test_enlarging_is_known():
    assert center_crop((100, 90), 91).enlarges and not center_crop((100, 90), 90).enlarges
    assert bucket((640, 383), 512).enlarges and not bucket((640, 384), 512).enlarges
