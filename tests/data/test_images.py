import numpy as np
import pytest
import torch
from PIL import Image

from tinv.data.crops import center_crop
from tinv.data.images import MAX_PIXELS, check_background, crop_image, find_images, open_image
from tinv.errors import UserError


def shown(path, background="white"):
    """The picture's centred square at 16 pixels."""
    image, _ = open_image(path, background=background)
    return crop_image(path, image, center_crop(image.size, 16))


def save(folder, image, name="a.png", **options):
    image.save(folder / name, **options)
    return folder / name


def split(size, left, right):
    """A picture whose left half has one colour and whose right half has another."""
    image = Image.new("RGB", size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


def test_pixels_are_between_minus_one_and_one(tmp_path):
    black_to_white = split((32, 32), "black", "white")
    pixels = shown(save(tmp_path, black_to_white)).pixels
    assert pixels.shape == (3, 16, 16) and pixels.dtype == torch.float32
    assert pixels[:, :, 0].unique().tolist() == [-1] and pixels[:, :, -1].unique().tolist() == [1]


def test_pictures_are_turned_as_the_camera_was_held(tmp_path):
    """E-20: the reference script trains on pictures that lie on their side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path, split((32, 32), "red", "blue"), exif=exif)
    turned = shown(path)
    assert turned.pixels[0, 0].mean() == 1 and turned.pixels[2, -1].mean() == 1


def test_transparent_parts_show_the_background_and_not_what_is_hidden_there(tmp_path):
    """E-20: the reference script shows the colours below."""
    image = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 8, 16))
    pixels = shown(save(tmp_path, image), background="#00ff00").pixels
    assert pixels[:, 8, 0].tolist() == [-1, -1, 1] and pixels[:, 8, -1].tolist() == [-1, 1, -1]


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "CMYK", "I;16"])
def test_every_colour_mode_becomes_rgb(tmp_path, mode):
    grey = Image.new("L", (20, 20), 255)
    image = Image.fromarray(np.full((20, 20), 65535, np.uint16)) if mode == "I;16" else grey.convert(mode)
    path = save(tmp_path, image, name="a.jpg" if mode == "CMYK" else "a.png")
    assert shown(path).pixels.mean() > 0.97


def test_a_mirrored_picture_is_the_mirror_image_and_twice_mirrored_it_is_itself(tmp_path):
    path = save(tmp_path, split((48, 32), "red", "blue"))
    picture = shown(path)
    mirrored = picture.mirrored()
    assert mirrored.pixels[2, 0, 0] == 1 and mirrored.pixels[0, 0, -1] == 1
    assert torch.equal(mirrored.mirrored().pixels, picture.pixels) and mirrored.mirrored().crop == picture.crop


def test_the_alpha_channel_is_handed_over_where_there_is_one(tmp_path):
    half = Image.new("RGBA", (16, 16), (255, 0, 0, 128))
    assert open_image(save(tmp_path, half), background="white")[1].getextrema() == (128, 128)
    assert open_image(save(tmp_path, half.convert("RGB")), background="white")[1] is None


def test_files_come_in_the_order_of_their_names_and_strays_are_named(tmp_path):
    """E-23: in the reference script the file system decides, and a stray file ends the run at some step."""
    for name in ("b.png", "a.jpg", "C.JPEG"):
        save(tmp_path, Image.new("RGB", (4, 4)), name)
    (tmp_path / ".DS_Store").write_text("")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "folder.png").mkdir()
    with pytest.warns(UserWarning, match=r"passed over notes\.txt, not pictures"):
        assert [path.name for path in find_images(tmp_path)] == ["C.JPEG", "a.jpg", "b.png"]


def test_sub_folders_are_walked_only_when_asked(tmp_path):
    for folder in ("b", "a", ".cache"):
        (tmp_path / folder).mkdir()
        save(tmp_path / folder, Image.new("RGB", (4, 4)))
    with pytest.raises(
        UserError, match=r"holds no picture \(only a/, b/\).*data\.recursive=true looks into its folders"
    ):
        find_images(tmp_path)
    found = find_images(tmp_path, recursive=True)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a/a.png", "b/a.png"]


def test_the_captions_beside_pictures_are_no_strays(tmp_path, recwarn):
    save(tmp_path, Image.new("RGB", (4, 4)))
    (tmp_path / "a.txt").write_text("a toy")
    assert len(find_images(tmp_path)) == 1 and not recwarn


def test_no_folder_and_no_pictures_are_different_sentences(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no picture;"):
        find_images(tmp_path)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UserError, match=r"holds no picture \(only a\.txt\)"):
        find_images(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_what_is_no_picture_is_named(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.png cannot be read as a picture"):
        open_image(tmp_path / "a.png", background="white")


def test_a_truncated_picture_is_named(tmp_path):
    path = save(tmp_path, Image.effect_noise((200, 200), 90).convert("RGB"), "a.jpg")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"a\.jpg cannot be read as a picture"):
        open_image(path, background="white")


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    side = int(MAX_PIXELS**0.5) + 100
    path = save(tmp_path, Image.new("1", (side, side)))
    with pytest.raises(UserError, match="megapixels"):
        open_image(path, background="white")


def test_a_background_is_a_colour():
    check_background("#80c0ff")
    with pytest.raises(UserError, match=r"data\.background must be a colour .* got 'paper'"):
        check_background("paper")
