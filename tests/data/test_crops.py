import numpy as np
import pytest
import torch
from PIL import Image

from tinv.data.cropped_image import crop_image
from tinv.data.crops import bucket_crop, bucket_sizes, bucket_step, center_crop, random_crops, squash
from tinv.seeding import generator

SIZES = [(1440, 1440), (1600, 900), (900, 1600), (4000, 3000), (641, 480), (37, 1000), (1000, 37), (513, 511)]


def some_crops(size, count=5, seed=0):
    return random_crops(size, 64, count=count, generator=generator(seed))


def test_center_crop_is_a_square_and_squash_is_the_whole_image():
    assert center_crop((64, 16), 16).box == (24, 0, 40, 16)
    assert center_crop((64, 16), 16).geometry().tolist() == [16, 64, 0, 24, 16, 16]
    assert squash((64, 16), 16).box == (0, 0, 64, 16)
    assert squash((64, 16), 16).geometry().tolist() == [16, 64, 0, 0, 16, 16]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fit", [center_crop, bucket_crop, lambda size, resolution: some_crops(size)[-1]])
def test_a_crop_is_undistorted_and_inside_the_image(fit, size):
    crop = fit(size, 512)
    left, top, right, bottom = crop.box
    assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
    assert (right - left) / (bottom - top) == pytest.approx(crop.size[0] / crop.size[1])
    assert (right - left, bottom - top)[right - left != size[0]] == pytest.approx(size[right - left != size[0]])


@pytest.mark.parametrize("resolution", [32, 64, 256, 512, 768, 1024])
def test_buckets_have_at_most_the_area_of_the_square(resolution):
    step = bucket_step(resolution)
    sizes = bucket_sizes(resolution)
    assert sizes[0] == (resolution, resolution)
    assert {(high, wide) for wide, high in sizes} == set(sizes) and len(set(sizes)) == len(sizes)
    for wide, high in sizes:
        assert wide % step == high % step == 0
        assert resolution**2 - step * wide * (wide > high) - step * high * (high > wide) <= wide * high <= resolution**2


def test_buckets_at_1024_are_those_of_sdxl():
    assert {(1152, 896), (896, 1152), (1216, 832), (1344, 768), (1536, 640), (2048, 512)} <= set(bucket_sizes(1024))


@pytest.mark.parametrize("size", SIZES)
def test_bucket_crop_chooses_the_bucket_that_crops_least(size):
    def remaining(other):
        return min(size[0] / size[1] / (other[0] / other[1]), other[0] / other[1] / (size[0] / size[1]))

    assert remaining(bucket_crop(size, 512).size) == pytest.approx(max(map(remaining, bucket_sizes(512))))


def test_random_crops_are_spread_over_the_image_and_reproducible():
    lefts = [crop.box[0] for crop in some_crops((1000, 100))]
    assert lefts == [crop.box[0] for crop in some_crops((1000, 100))]
    assert lefts != [crop.box[0] for crop in some_crops((1000, 100), seed=1)]
    assert all(180 * k <= left <= 180 * (k + 1) for k, left in enumerate(lefts))
    assert [crop.box[1] for crop in some_crops((100, 1000))] == lefts


def test_random_crops_contain_no_duplicates():
    assert [crop.box for crop in some_crops((100, 100))] == [(0, 0, 100, 100)]
    boxes = [crop.box for crop in some_crops((102, 100), count=20)]
    assert len(boxes) == len(set(boxes)) <= 3


@pytest.mark.parametrize("crop", [center_crop((90, 60), 32), bucket_crop((90, 60), 32), *some_crops((90, 60))])
def test_crop_and_flip_commute(tmp_path, crop):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8))
    plain = crop_image(tmp_path, image, crop).flipped()
    other = crop_image(tmp_path, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), crop.flipped())
    torch.testing.assert_close(plain.pixels, other.pixels, atol=2 / 127.5, rtol=0)
    assert torch.equal(plain.geometry, other.geometry)


def test_geometry_is_in_pixels_of_the_resized_image():
    """SDXL was trained with the size of the file, and the crop offset after resizing."""
    crop = bucket_crop((1600, 800), 512)
    assert crop.size == (704, 320)
    scale = 704 / (crop.box[2] - crop.box[0])
    assert crop.geometry().tolist() == [800, 1600, round(crop.box[1] * scale), round(crop.box[0] * scale), 320, 704]


def test_is_upscaled():
    assert center_crop((100, 90), 91).is_upscaled and not center_crop((100, 90), 90).is_upscaled
    assert bucket_crop((640, 383), 512).is_upscaled and not bucket_crop((640, 384), 512).is_upscaled
