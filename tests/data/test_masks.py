import numpy as np
import pytest
import torch
from PIL import Image

from tinv.data.cropped_image import crop_image
from tinv.data.crops import bucket_crop, center_crop, random_crops
from tinv.data.encode_latents import encode_views
from tinv.data.images import open_image
from tinv.data.masks import check_alpha_channels, find_masks, load_mask
from tinv.errors import UserError
from tinv.seeding import generator


def save(path, size=(40, 20), color="white"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, color).save(path)
    return path


def encode(pixels):
    """Stands in for a VAE with scale factor 4."""
    return torch.nn.functional.avg_pool2d(pixels, 4)[:, :2]


def test_masks_are_matched_by_name_with_any_suffix_and_in_sub_folders(tmp_path):
    images = [tmp_path / "photos" / name for name in ("a.jpg", "10_b/a.jpg")]
    masks = [save(tmp_path / "masks" / name) for name in ("a.png", "10_b/a.webp", "other.png")]
    assert find_masks(tmp_path / "masks", images, root=tmp_path / "photos") == dict(zip(images, masks, strict=False))


def test_images_without_a_mask_are_named_and_no_mask_at_all_is_an_error(tmp_path):
    save(tmp_path / "a.png")
    images = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    with pytest.warns(UserWarning, match=r"data\.masks: b\.jpg: no mask in .*; every pixel counts"):
        assert list(find_masks(tmp_path, images, root=tmp_path)) == images[:1]
    with pytest.raises(UserError, match=r"no mask for b\.jpg\. A mask has its image's name, such as b\.png"):
        find_masks(tmp_path, images[1:], root=tmp_path)
    with pytest.raises(UserError, match=r"data\.masks=.*nowhere: no such folder"):
        find_masks(tmp_path / "nowhere", images, root=tmp_path)


def test_alpha_needs_an_image_with_an_alpha_channel(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    Image.new("RGBA", (4, 4)).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_text("not an image; reported when it is opened")
    with pytest.warns(UserWarning, match=r"a\.png: no alpha channel; every pixel counts"):
        check_alpha_channels([tmp_path / name for name in ("a.png", "b.png", "c.png")])
    with pytest.raises(UserError, match="no image has an alpha channel"):
        check_alpha_channels([tmp_path / "a.png"])


def test_a_mask_needs_the_aspect_ratio_of_its_image_but_not_its_size(tmp_path):
    image = tmp_path / "a.jpg"
    assert load_mask(save(tmp_path / "a.png", (20, 10)), image, (40, 20)).size == (20, 10)
    with pytest.raises(UserError, match=r"has 20 x 20 pixels, but .*a\.jpg has 40 x 20\. A mask must"):
        load_mask(save(tmp_path / "a.png", (20, 20)), image, (40, 20))


def test_transparent_pixels_of_a_mask_are_black(tmp_path):
    mask = Image.new("RGBA", (4, 2), (255, 255, 255, 0))
    mask.paste((255, 255, 255, 255), (0, 0, 2, 2))
    mask.save(tmp_path / "a.png")
    assert np.asarray(load_mask(tmp_path / "a.png", tmp_path, (4, 2))).tolist() == [[255, 255, 0, 0]] * 2


CROPS = [
    center_crop((90, 60), 32),
    bucket_crop((90, 60), 32),
    *random_crops((90, 60), 32, count=3, generator=generator(0)),
]


@pytest.mark.parametrize("crop", CROPS)
def test_a_mask_stays_aligned_with_its_image_when_cropped_flipped_and_encoded(tmp_path, crop):
    """The image is its own mask, so pixels and weights must agree everywhere."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 2, (6, 9), np.uint8) * 255).resize((90, 60), 0)
    cropped = crop_image(tmp_path, image.convert("RGB"), crop, image)
    views = encode_views([cropped], encode, flip=True)
    assert views.mask.shape == (2, 1, *views.moments.shape[-2:])
    torch.testing.assert_close(views.moments[:, :1] / 2 + 0.5, views.mask, atol=0.1, rtol=0)
    torch.testing.assert_close(views.mask[0].flip(-1), views.mask[1])


def test_a_latent_pixel_has_the_mean_weight_of_its_area(tmp_path):
    mask = Image.new("L", (16, 16), 0)
    mask.paste(255, (0, 0, 6, 16))
    cropped = crop_image(tmp_path, Image.new("RGB", (16, 16)), center_crop((16, 16), 16), mask)
    assert encode_views([cropped], encode, flip=False).mask[0, 0, 0].tolist() == [1, 0.5, 0, 0]
    with_floor = encode_views([cropped], encode, flip=False, mask_floor=0.2).mask[0, 0, 0]
    torch.testing.assert_close(with_floor, torch.tensor([1, 0.6, 0.2, 0.2]))


def test_a_mask_fits_an_image_rotated_by_exif(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = Image.new("RGB", (20, 40), "black")
    sideways.paste("white", (0, 0, 20, 10))
    sideways.save(tmp_path / "a.png", exif=exif)
    image, _ = open_image(tmp_path / "a.png", background="white")
    assert image.size == (40, 20)
    image.save(tmp_path / "upright.png")
    mask = load_mask(tmp_path / "upright.png", tmp_path / "a.png", image.size)
    cropped = crop_image(tmp_path, image, center_crop(image.size, 16), mask)
    torch.testing.assert_close(cropped.pixels[:1] / 2 + 0.5, cropped.mask, atol=0.1, rtol=0)
