import numpy as np
import pytest
import torch
from PIL import Image

from tinv.data.cropped_image import crop_image
from tinv.data.crops import center_crop
from tinv.data.images import MAX_PIXELS, check_background, find_images, open_image
from tinv.errors import UserError


def cropped(path, background="white"):
    """The centered square of the image at 16 pixels."""
    image, _ = open_image(path, background=background)
    return crop_image(path, image, center_crop(image.size, 16))


def save(folder, image, name="a.png", **options):
    image.save(folder / name, **options)
    return folder / name


def split(size, left, right):
    """An image with one color in its left half and another in its right half."""
    image = Image.new("RGB", size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


def test_pixels_are_between_minus_one_and_one(tmp_path):
    black_to_white = split((32, 32), "black", "white")
    pixels = cropped(save(tmp_path, black_to_white)).pixels
    assert pixels.shape == (3, 16, 16) and pixels.dtype == torch.float32
    assert pixels[:, :, 0].unique().tolist() == [-1] and pixels[:, :, -1].unique().tolist() == [1]


def test_images_are_rotated_as_exif_says(tmp_path):
    """diffusers' script ignores the EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path, split((32, 32), "red", "blue"), exif=exif)
    upright = cropped(path)
    assert upright.pixels[0, 0].mean() == 1 and upright.pixels[2, -1].mean() == 1


def test_transparent_pixels_show_the_background(tmp_path):
    """diffusers' script shows their hidden colors."""
    image = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 8, 16))
    pixels = cropped(save(tmp_path, image), background="#00ff00").pixels
    assert pixels[:, 8, 0].tolist() == [-1, -1, 1] and pixels[:, 8, -1].tolist() == [-1, 1, -1]


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "CMYK", "I;16"])
def test_every_color_mode_becomes_rgb(tmp_path, mode):
    gray = Image.new("L", (20, 20), 255)
    image = Image.fromarray(np.full((20, 20), 65535, np.uint16)) if mode == "I;16" else gray.convert(mode)
    path = save(tmp_path, image, name="a.jpg" if mode == "CMYK" else "a.png")
    assert cropped(path).pixels.mean() > 0.97


def test_flipping_twice_gives_the_image_again(tmp_path):
    path = save(tmp_path, split((48, 32), "red", "blue"))
    image = cropped(path)
    flipped = image.flipped()
    assert flipped.pixels[2, 0, 0] == 1 and flipped.pixels[0, 0, -1] == 1
    assert torch.equal(flipped.flipped().pixels, image.pixels) and flipped.flipped().crop == image.crop


def test_open_image_returns_the_alpha_channel_if_there_is_one(tmp_path):
    half = Image.new("RGBA", (16, 16), (255, 0, 0, 128))
    assert open_image(save(tmp_path, half), background="white")[1].getextrema() == (128, 128)
    assert open_image(save(tmp_path, half.convert("RGB")), background="white")[1] is None


def test_images_are_sorted_by_name_and_other_files_are_named(tmp_path):
    """In diffusers' script the file system decides the order, and another file type ends the run."""
    for name in ("b.png", "a.jpg", "C.JPEG"):
        save(tmp_path, Image.new("RGB", (4, 4)), name)
    (tmp_path / ".DS_Store").write_text("")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "folder.png").mkdir()
    with pytest.warns(UserWarning, match=r"ignored notes\.txt: not image files"):
        assert [path.name for path in find_images(tmp_path)] == ["C.JPEG", "a.jpg", "b.png"]


def test_sub_folders_are_searched_only_with_recursive(tmp_path):
    for folder in ("b", "a", ".cache"):
        (tmp_path / folder).mkdir()
        save(tmp_path / folder, Image.new("RGB", (4, 4)))
    with pytest.raises(UserError, match=r"no images in this folder, only a/, b/\..*set data\.recursive=true"):
        find_images(tmp_path)
    paths = find_images(tmp_path, recursive=True)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["a/a.png", "b/a.png"]


def test_caption_files_cause_no_warning(tmp_path, recwarn):
    save(tmp_path, Image.new("RGB", (4, 4)))
    (tmp_path / "a.txt").write_text("a toy")
    assert len(find_images(tmp_path)) == 1 and not recwarn


def test_a_missing_folder_and_an_empty_folder_have_different_messages(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no images in this folder\."):
        find_images(tmp_path)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UserError, match=r"no images in this folder, only a\.txt"):
        find_images(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_a_file_that_is_not_an_image_is_named(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.png: cannot be read as an image"):
        open_image(tmp_path / "a.png", background="white")


def test_a_truncated_image_is_named(tmp_path):
    path = save(tmp_path, Image.effect_noise((200, 200), 90).convert("RGB"), "a.jpg")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"a\.jpg: cannot be read as an image"):
        open_image(path, background="white")


def test_a_huge_image_is_rejected_before_it_is_decoded(tmp_path):
    side = int(MAX_PIXELS**0.5) + 100
    path = save(tmp_path, Image.new("1", (side, side)))
    with pytest.raises(UserError, match="megapixels"):
        open_image(path, background="white")


def test_background_must_be_a_color():
    check_background("#80c0ff")
    with pytest.raises(UserError, match=r"data\.background=paper: not a color"):
        check_background("paper")


def test_a_large_jpeg_is_reduced_while_it_is_decoded(tmp_path):
    """102 megapixels, as a medium-format camera takes them."""
    path = save(tmp_path, Image.new("RGB", (11648, 8736), "red"), "a.jpg")
    image, _ = open_image(path, background="white")
    assert image.size == (5824, 4368) and image.getpixel((9, 9))[0] > 250


def test_a_file_of_another_type_is_not_opened(tmp_path):
    """Pillow would start Ghostscript for it."""
    content = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({tmp_path / 'marker'}) (w) file closefile\n%%EOF\n"
    (tmp_path / "a.png").write_text(content)
    with pytest.raises(UserError, match=r"a\.png: cannot be read as an image"):
        open_image(tmp_path / "a.png", background="white")
    assert not (tmp_path / "marker").exists()
