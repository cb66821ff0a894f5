"""The training images of one concept: a folder of images with their captions, masks and repeats."""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from hashlib import file_digest, sha256
from pathlib import Path

from torch import Tensor

from tinv.concept import Concept
from tinv.data.captions import CaptionConfig
from tinv.data.crop_config import CropConfig
from tinv.data.cropped_image import CroppedImage, crop_image
from tinv.data.dataset import EncodedImage
from tinv.data.encode_latents import encode_views, pack_tensors, release_free_memory
from tinv.data.images import find_images, format_names, open_image
from tinv.data.masks import ALPHA, check_alpha_channels, find_masks, load_mask
from tinv.errors import UserError
from tinv.seeding import generator


class ConceptImages:
    """The images in a folder, and how they are cropped, masked, captioned and encoded."""

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
        """Finds the images, captions and masks; no image is decoded yet.

        Args:
            concept: gives the placeholder token.
            folder: of the images.
            caption_config: where captions come from.
            crop_config: which parts of the images are used.
            recursive: include sub-folders.
            repeats: see `count_repeats`.
            masks: a folder of masks, `alpha`, or None.
            mask_floor: the loss weight where a mask is black.
            seed: of the run; decides the offsets of random crops.

        Raises:
            UserError: a required file is missing, or a setting does not fit the folder.
        """
        if not 0 <= mask_floor <= 1:
            raise UserError(f"data.mask_floor={mask_floor}: must be between 0 and 1.")
        if mask_floor and masks is None:
            raise UserError(f"data.mask_floor={mask_floor} needs data.masks, which is null. Set both or neither.")
        self.concept, self.folder, self.crop_config, self.caption_config = concept, folder, crop_config, caption_config
        self.mask_floor, self.seed = mask_floor, seed
        paths = find_images(folder, recursive=recursive)
        if isinstance(masks, Path):
            paths = _exclude_masks(masks, paths, folder)
        self.repeats = count_repeats(paths, repeats, root=folder)
        self.paths = list(self.repeats)
        self.captions = caption_config.load_captions(self.paths, concept)
        self.uses_alpha = masks == ALPHA
        if self.uses_alpha:
            check_alpha_channels(self.paths)
        self.masks = find_masks(masks, self.paths, root=folder) if isinstance(masks, Path) else {}
        self.digests: dict[str, str] = {}
        """What was encoded: see `compute_digests`."""

    def caption_sources(self) -> dict[str, str]:
        """Returns every possible caption, with the file that it comes from."""
        sources = {captions: self.caption_config.source_of(path) for path, captions in self.captions.items()}
        return {captions[i]: source for captions, source in sources.items() for i in range(len(captions))}

    def load_crops(self, path: Path, resolution: int) -> list[CroppedImage]:
        """Returns the crops of an image at a given resolution, without those that a mask covers completely.

        Raises:
            UserError: naming the file and what is wrong with it.
        """
        image, alpha = open_image(path, background=self.crop_config.background)
        mask = alpha if self.uses_alpha else None
        if path in self.masks:
            mask = load_mask(self.masks[path], path, image.size)
        rng = generator(self.seed, "crops", path.relative_to(self.folder).as_posix())
        boxes = self.crop_config.make_crops(image.size, resolution, generator=rng)
        crops = [crop_image(path, image, box, mask) for box in boxes]
        crops = [crop for crop in crops if crop.mask is None or self.mask_floor or crop.mask.any()]
        if not crops:
            raise UserError(
                f"data.masks: the mask of {path} is black in every crop. Correct the mask, choose another data.fit, "
                f"or set data.mask_floor above 0."
            )
        return crops

    def encode(self, encode: Callable[[Tensor], Tensor], resolution: int) -> list[EncodedImage]:
        """Encodes the images one after the other with the frozen VAE; only their moments stay in memory.

        Args:
            encode: [1, 3, H, W] in [-1, 1] -> moments [1, 2C, h, w].
            resolution: the model's own, in pixels; `data.resolution` overrides it.
        """
        resolution = self.crop_config.resolution or resolution
        self.digests = self.compute_digests()
        views, upscaled = [], []
        for path in self.paths:
            crops = self.load_crops(path, resolution)
            upscaled += [path.name] * crops[0].crop.is_upscaled
            views.append(encode_views(crops, encode, flip=self.crop_config.flip, mask_floor=self.mask_floor))
            del crops
            release_free_memory()
        if upscaled:
            warnings.warn(
                f"data.folder: {format_names(upscaled)}: upscaled to {resolution} pixels, so they will look blurred. "
                f"Use larger images, or a smaller data.resolution.",
                stacklevel=3,
            )
        views[:] = pack_tensors(views)
        release_free_memory()
        return [EncodedImage(v, self.captions[p], self.repeats[p]) for v, p in zip(views, self.paths, strict=True)]

    def compute_digests(self) -> dict[str, str]:
        """Returns a SHA-256 of each image file, each mask and each text that captions come from, by name."""
        names = {path: path.relative_to(self.folder).as_posix() for path in self.paths}
        files = {name: path for path, name in names.items()}
        files |= {f"the mask of {names[path]}": mask for path, mask in self.masks.items()}
        own = {f"the captions of {name}": self.captions[path].own_captions for path, name in names.items()}
        texts = {"the caption templates": self.captions[self.paths[0]].templates}
        texts |= {name: captions for name, captions in own.items() if any(captions)}
        return {
            **{name: _digest_file(path) for name, path in files.items()},
            **{name: sha256(repr(text).encode()).hexdigest() for name, text in texts.items()},
        }


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def count_repeats(images: Sequence[Path], repeats: int | Mapping[str, int], *, root: Path) -> dict[Path, int]:
    """Returns how often a pass uses each image, without the images with 0 repeats.

    A sub-folder called `10_mugs` multiplies the repeats of its images by 10, as in kohya's trainer.

    Args:
        images: the image files.
        repeats: of all images, or by file name or pattern such as `front*`; the last match wins, and images without
            a match have 1. 0 excludes an image.
        root: the folder of the images.

    Raises:
        UserError: a number is negative, a pattern matches nothing, or no image remains.
    """
    by_pattern = {"*": repeats} if isinstance(repeats, int) else repeats
    counts = dict.fromkeys(images, 1)
    for pattern, count in by_pattern.items():
        if isinstance(repeats, int) and count < 1:
            raise UserError(f"data.repeats={count}: must be 1 or more.")
        if count < 0:
            raise UserError(f"data.repeats: {pattern}: {count} must be 0 (exclude) or more.")
        matches = [image for image in images if _matches(image.relative_to(root), pattern)]
        if not matches:
            raise UserError(f"data.repeats: {pattern} matches no image. One of the names is {images[0].name}.")
        counts |= dict.fromkeys(matches, count)
    counts = {image: count * _folder_repeats(image.relative_to(root)) for image, count in counts.items()}
    if not any(counts.values()):
        raise UserError("data.repeats excludes every image. Set 1 or more for at least one.")
    return {image: count for image, count in counts.items() if count}


def _matches(path: Path, pattern: str) -> bool:
    return fnmatch(path.name, pattern) or fnmatch(path.as_posix(), pattern)


def _folder_repeats(path: Path) -> int:
    product = 1
    for folder in path.parts[:-1]:
        if match := re.match(r"([1-9]\d*)_", folder):
            product *= int(match[1])
    return product


def _exclude_masks(masks: Path, images: list[Path], folder: Path) -> list[Path]:
    """Returns the images outside the folder of masks, which may lie inside the folder of images."""
    masks_dir, images_dir = masks.absolute(), folder.absolute()
    if images_dir not in (masks_dir, *masks_dir.parents):
        return images
    if not (outside := [image for image in images if masks_dir not in image.absolute().parents]):
        raise UserError(f"data.masks={masks}: contains every image of data.folder={folder}. Use a separate folder.")
    return outside
