"""What is shown of one concept: a folder of pictures, with their captions, masks and counts."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image
from torch import Tensor

from tinv import heap
from tinv.concept import Concept
from tinv.data.crop_config import Framing
from tinv.data.crops import Size
from tinv.data.dataset import EncodedImage
from tinv.data.encode_latents import encode_views, together
from tinv.data.images import Picture, cut_picture, find_images, listed, open_picture
from tinv.data.masks import ALPHA, check_alpha, find_masks, read_mask
from tinv.data.repeats import count_repeats
from tinv.data.wording import Wording
from tinv.errors import UserError
from tinv.seeding import generator


class ConceptPictures:
    """Finds what a folder holds, and makes it into what a run shows."""

    def __init__(
        self,
        concept: Concept,
        folder: Path,
        *,
        wording: Wording,
        framing: Framing,
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
        self.concept, self.folder, self.framing, self.wording = concept, folder, framing, wording
        self.mask_floor, self.seed = mask_floor, seed
        found = find_images(folder, recursive=recursive)
        if isinstance(masks, Path):
            found = _outside(masks, found, folder)
        self.repeats = count_repeats(found, repeats, root=folder)
        self.images = list(self.repeats)
        self.captions = wording.captions_of(self.images, concept)
        self.takes_alpha = masks == ALPHA
        if self.takes_alpha:
            check_alpha(self.images)
        self.masks = find_masks(masks, self.images, root=folder) if isinstance(masks, Path) else {}

    def sayings(self) -> dict[str, str]:
        """Every caption that may be shown, with the place where it is written."""
        places = {captions: self.wording.place_of(image) for image, captions in self.captions.items()}
        return {captions[i]: place for captions, place in places.items() for i in range(len(captions))}

    def open(self, path: Path, resolution: int) -> list[Picture]:
        """A picture in every cut that is shown, at a resolution that need not be that of the settings.

        Raises:
            UserError: naming the file and what is wrong with it.
        """
        image, alpha = open_picture(path, background=self.framing.background)
        mask = alpha if self.takes_alpha else self._mask(path, image.size)
        chance = generator(self.seed, "crops", path.relative_to(self.folder).as_posix())
        cuts = self.framing.cuts(image.size, resolution, chance=chance)
        pictures = [cut_picture(path, image, cut, mask) for cut in cuts]
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
        resolution = self.framing.resolution or resolution
        views, small = [], []
        for path in self.images:
            pictures = self.open(path, resolution)
            small += [path.name] * pictures[0].cut.enlarges
            views.append(encode_views(pictures, encode, flip=self.framing.flip, mask_floor=self.mask_floor))
            del pictures
            heap.give_back()
        if small:
            warnings.warn(
                f"data.folder: {listed(small)} had to be enlarged to {resolution} pixels "
                f"and will look blurred; give larger pictures, or a smaller data.resolution",
                stacklevel=3,
            )
        views[:] = together(views)
        heap.give_back()
        return [
            EncodedImage(each, self.captions[path], self.repeats[path])
            for each, path in zip(views, self.images, strict=True)
        ]

    def _mask(self, path: Path, size: Size) -> Image.Image | None:
        return read_mask(self.masks[path], path, size) if path in self.masks else None


def _outside(masks: Path, images: list[Path], folder: Path) -> list[Path]:
    """The pictures of a folder that are not in its folder of masks, if that is inside of it."""
    place, root = masks.absolute(), folder.absolute()
    if root not in (place, *place.parents):
        return images
    if not (outside := [image for image in images if place not in image.absolute().parents]):
        raise UserError(f"data.masks: every picture of {folder} is in {masks}; give the masks a folder of their own")
    return outside
