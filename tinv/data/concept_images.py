"""What is shown of one concept: a folder of pictures, with their captions, masks and counts."""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from PIL import Image
from torch import Tensor

from tinv.concept import Concept
from tinv.data.captions import CaptionConfig
from tinv.data.crop_config import CropConfig
from tinv.data.crops import Size
from tinv.data.dataset import EncodedImage
from tinv.data.encode_latents import encode_views, pack_tensors, release_free_memory
from tinv.data.images import CroppedImage, crop_image, find_images, format_names, open_image
from tinv.data.masks import ALPHA, check_alpha_channels, find_masks, load_mask
from tinv.errors import UserError
from tinv.seeding import generator


class ConceptImages:
    """Finds what a folder holds, and makes it into what a run shows."""

    def __init__(
        self,
        concept: Concept,
        folder: Path,
        *,
        caption_config: CaptionConfig,
        crop_config: CropConfig,
        recursive: bool = False,
        repeats: int | Mapping[str, int] = 1,
        masks: Path | str | None = None,
        mask_floor: float = 0.0,
        seed: int = 0,
    ):
        """Find the pictures and what belongs to them; nothing is decoded yet.

        Args:
            concept: whose word the captions say.
            folder: holds the pictures.
            wording: where the captions come from.
            framing: how the pictures are brought to size.
            recursive: those in sub-folders, too.
            repeats: how often a pass shows each, of all or by file name or pattern.
            masks: a folder of masks, or `alpha`, or None.
            mask_floor: what the places count that a mask leaves out.
            seed: of the run; decides where random crops are.

        Raises:
            UserError: something that is needed is missing, or a setting does not fit the folder.
        """
        if not 0 <= mask_floor <= 1:
            raise UserError(f"data.mask_floor must be between 0 and 1, got {mask_floor}")
        if mask_floor and masks is None:
            raise UserError("data.mask_floor is for data.masks, which is null; set both or neither")
        self.concept, self.folder, self.crop_config, self.caption_config = concept, folder, crop_config, caption_config
        self.mask_floor, self.seed = mask_floor, seed
        found = find_images(folder, recursive=recursive)
        if isinstance(masks, Path):
            found = _outside(masks, found, folder)
        self.repeats = count_repeats(found, repeats, root=folder)
        self.images = list(self.repeats)
        self.captions = caption_config.load_captions(self.images, concept)
        self.takes_alpha = masks == ALPHA
        if self.takes_alpha:
            check_alpha_channels(self.images)
        self.masks = find_masks(masks, self.images, root=folder) if isinstance(masks, Path) else {}

    def caption_sources(self) -> dict[str, str]:
        """Every caption that may be shown, with the place where it is written."""
        places = {captions: self.caption_config.source_of(image) for image, captions in self.captions.items()}
        return {captions[i]: place for captions, place in places.items() for i in range(len(captions))}

    def load_crops(self, path: Path, resolution: int) -> list[CroppedImage]:
        """A picture in every cut that is shown, at a resolution that need not be that of the settings.

        Raises:
            UserError: naming the file and what is wrong with it.
        """
        image, alpha = open_image(path, background=self.crop_config.background)
        mask = alpha if self.takes_alpha else self._mask(path, image.size)
        chance = generator(self.seed, "crops", path.relative_to(self.folder).as_posix())
        crops = self.crop_config.make_crops(image.size, resolution, chance=chance)
        pictures = [crop_image(path, image, crop, mask) for crop in crops]
        counting = [p for p in pictures if p.mask is None or self.mask_floor or p.mask.any()]
        if not counting:
            raise UserError(
                f"data.masks: nothing counts in what is shown of {path}; "
                f"mend its mask, choose another data.fit, or set data.mask_floor above 0"
            )
        return counting

    def encode(self, encode: Callable[[Tensor], Tensor], resolution: int) -> list[EncodedImage]:
        """The pictures as the frozen VAE sees them, one after the other: only their moments are kept.

        Args:
            encode: [1, 3, H, W] in [-1, 1] -> moments [1, 2C, h, w].
            resolution: the model's own, in pixels; used unless the settings name one.
        """
        resolution = self.crop_config.resolution or resolution
        views, small = [], []
        for path in self.images:
            pictures = self.load_crops(path, resolution)
            small += [path.name] * pictures[0].crop.enlarges
            views.append(encode_views(pictures, encode, flip=self.crop_config.flip, mask_floor=self.mask_floor))
            del pictures
            release_free_memory()
        if small:
            warnings.warn(
                f"data.folder: {format_names(small)} had to be enlarged to {resolution} pixels "
                f"and will look blurred; give larger pictures, or a smaller data.resolution",
                stacklevel=3,
            )
        views[:] = pack_tensors(views)
        release_free_memory()
        return [
            EncodedImage(each, self.captions[path], self.repeats[path])
            for each, path in zip(views, self.images, strict=True)
        ]

    def _mask(self, path: Path, size: Size) -> Image.Image | None:
        return load_mask(self.masks[path], path, size) if path in self.masks else None


def _outside(masks: Path, images: list[Path], folder: Path) -> list[Path]:
    """The pictures of a folder that are not in its folder of masks, if that is inside of it."""
    place, root = masks.absolute(), folder.absolute()
    if root not in (place, *place.parents):
        return images
    if not (outside := [image for image in images if place not in image.absolute().parents]):
        raise UserError(f"data.masks: every picture of {folder} is in {masks}; give the masks a folder of their own")
    return outside


def count_repeats(images: Sequence[Path], repeats: int | Mapping[str, int], *, root: Path) -> dict[Path, int]:
    """How often each picture is shown in a pass; those that are shown never are left out.

    A sub-folder called `10_mugs` makes that 10 times as often, as in kohya's trainer.

    Args:
        images: the pictures.
        repeats: of all of them, or by file name, or by a pattern such as `front*`; the last that fits counts, and
            pictures that none fits are shown once. 0 leaves a picture out.
        root: the folder of the pictures.

    Raises:
        UserError: a count is negative, a pattern fits nothing, or nothing is left.
    """
    by_name = {"*": repeats} if isinstance(repeats, int) else repeats
    counts = dict.fromkeys(images, 1)
    for pattern, count in by_name.items():
        if isinstance(repeats, int) and count < 1:
            raise UserError(f"data.repeats must be 1 or more, got {count}")
        if count < 0:
            raise UserError(f"data.repeats: {pattern} must be 0 (left out) or more, got {count}")
        fitting = [image for image in images if _fits(image.relative_to(root), pattern)]
        if not fitting:
            raise UserError(f"data.repeats: no picture is called {pattern}; there are, for example, {images[0].name}")
        counts |= dict.fromkeys(fitting, count)
    counted = {image: count * _of_folders(image.relative_to(root)) for image, count in counts.items()}
    if not any(counted.values()):
        raise UserError("data.repeats leaves out every picture; give one of them 1 or more")
    return {image: count for image, count in counted.items() if count}


def _fits(inside: Path, pattern: str) -> bool:
    return fnmatch(inside.name, pattern) or fnmatch(inside.as_posix(), pattern)


def _of_folders(inside: Path) -> int:
    product = 1
    for folder in inside.parts[:-1]:
        if match := re.match(r"([1-9]\d*)_", folder):
            product *= int(match[1])
    return product
