"""The pictures of a concept as a LightningDataModule."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from tinv.concept import Concept
from tinv.data.images import FITS, Picture, check_background, find_images, open_picture
from tinv.data.latents import encode_pictures
from tinv.data.places import locate_folder
from tinv.data.stream import RunSampler, Sample, TrainingSamples, ValidationSamples
from tinv.draw import generator
from tinv.errors import UserError
from tinv.files import locate
from tinv.templates import read_templates, templates
from tinv.types import Batch


class ConceptDataModule(LightningDataModule):
    """A folder of pictures, captioned by templates, encoded once.

    One epoch is the whole run: the training loader holds `max_steps` x `accumulate_grad_batches` micro-batches, less
    those that a resumed run has behind it.
    """

    def __init__(
        self,
        *,
        concept: Concept,
        seed: int,
        folder: str,
        resolution: int | None = None,
        fit: str = "crop",
        flip: bool = False,
        background: str = "white",
        repeats: int = 1,
        templates_file: str | None = None,
        batch_size: int = 4,
        num_workers: int = 0,
        val_draws: int = 64,
    ):
        """Find the pictures and check the settings; nothing is decoded yet.

        Args:
            concept: its word fills the templates, its kind chooses them.
            seed: of the run.
            folder: holds the pictures; a path, `pkg://package/folder` or `hf://datasets/owner/name`.
            resolution: side of the square in pixels; None is what the model was trained at.
            fit: `crop` or `squash`, for pictures that are not square.
            flip: show each picture mirrored half of the time; not for lettering, logos, faces with a parting.
            background: colour behind transparent parts.
            repeats: how often a pass over the pictures shows each.
            templates_file: captions of your own, one a line with `{}` for the word; None is the standard set.
            batch_size: pictures in a micro-batch of one process.
            num_workers: processes that prepare batches; with cached latents 0 is fastest.
            val_draws: how many fixed draws `val/loss` is the mean of.

        Raises:
            UserError: a setting or the folder is wrong.
        """
        super().__init__()
        if fit not in FITS:
            raise UserError(f"data.fit must be one of {', '.join(FITS)}, got {fit!r}")
        check_background(background)
        if resolution is not None and resolution < 8:
            raise UserError(f"data.resolution must be 8 or more, or null for the model's own, got {resolution}")
        for name, value, least in (
            ("repeats", repeats, 1),
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("val_draws", val_draws, 1),
        ):
            if value < least:
                raise UserError(f"data.{name} must be {least} or more, got {value}")
        self.concept, self.seed = concept, seed
        self.resolution, self.fit, self.flip, self.background = resolution, fit, flip, background
        self.repeats, self.batch_size, self.num_workers, self.val_draws = repeats, batch_size, num_workers, val_draws
        self.templates = read_templates(locate(templates_file)) if templates_file else templates(concept.kind)
        self.images: list[Path] = find_images(locate_folder(folder))
        self.moments: Tensor | None = None

    @property
    def captions(self) -> list[str]:
        """The templates with the concept's word filled in."""
        return [template.format(self.concept.placeholder) for template in self.templates]

    def open(self, path: Path, resolution: int) -> Picture:
        """A picture, decoded and cut to a square of the settings' size, or of `resolution` where they name none.

        Raises:
            UserError: naming the file and what is wrong with it.
        """
        return open_picture(path, resolution=self.resolution or resolution, fit=self.fit, background=self.background)

    def connect(self, encode: Callable[[Tensor], Tensor], *, resolution: int) -> None:
        """Encode the pictures with the frozen VAE; called once, before fit.

        Args:
            encode: [1, 3, H, W] in [-1, 1] -> moments [1, 2C, h, w].
            resolution: the model's own, in pixels; used unless the settings name one.
        """
        pictures = [self.open(path, resolution) for path in self.images]
        self.moments = encode_pictures(pictures, encode, flip=self.flip)
        self.geometry = torch.stack([picture.geometry for picture in pictures])

    def train_dataloader(self) -> DataLoader[Sample]:
        """Micro-batches from where the run stands to its end."""
        trainer = self.trainer
        assert self.moments is not None and trainer is not None, "connect() comes before fit"
        samples = TrainingSamples(
            moments=self.moments,
            geometry=self.geometry,
            captions=self.captions,
            repeats=self.repeats,
            seed=self.seed,
        )
        sampler = RunSampler(
            start=trainer.global_step * trainer.accumulate_grad_batches,
            stop=trainer.max_steps * trainer.accumulate_grad_batches,
            batch_size=self.batch_size,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        return DataLoader(
            samples,
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=self.num_workers,
            generator=generator(self.seed, "workers"),
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        """The fixed draws of `val/loss`."""
        assert self.moments is not None, "connect() comes before fit"
        samples = ValidationSamples(
            moments=self.moments, geometry=self.geometry, captions=self.captions, num_draws=self.val_draws
        )
        return DataLoader(
            samples,
            batch_size=self.batch_size,
            collate_fn=collate,
            generator=generator(self.seed, "workers"),
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples side by side."""
    return Batch(
        moments=torch.stack([sample.moments for sample in samples]),
        captions=[sample.caption for sample in samples],
        geometry=torch.stack([sample.geometry for sample in samples]),
        level=torch.tensor([sample.level for sample in samples], dtype=torch.float64),
        draws=torch.tensor([sample.draw for sample in samples]),
        index=torch.tensor([sample.index for sample in samples]),
    )
