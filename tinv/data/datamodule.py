"""The training images of a run as LightningDataModules: of one concept, and of several together."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader

from tinv.concept import Concept
from tinv.data.captions import CaptionConfig, TagAugmentation
from tinv.data.concept_images import ConceptImages
from tinv.data.crop_config import CropConfig
from tinv.data.cropped_image import CroppedImage
from tinv.data.dataset import (
    EncodedImage,
    RunBatchSampler,
    TrainingDataset,
    TrainingExample,
    ValidationDataset,
    collate,
)
from tinv.data.locate import locate_folder
from tinv.data.masks import ALPHA
from tinv.errors import UserError
from tinv.runs.files import resolve_path
from tinv.seeding import generator


class ConceptDataModule(LightningDataModule):
    """The training images of one concept, encoded once before training.

    One epoch is the whole run: the training loader yields `max_steps` x `accumulate_grad_batches` micro-batches, less
    those before the step that a resumed run starts at.
    """

    def __init__(
        self,
        *,
        concept: Concept,
        seed: int,
        folder: str,
        recursive: bool = False,
        captions: Literal["templates", "files", "names", "templates+files", "templates+names"] = "templates",
        templates_file: str | None = None,
        shuffle_tags: bool = False,
        drop_tags: float = 0.0,
        drop_caption: float = 0.0,
        resolution: int | None = None,
        fit: Literal["crop", "squash", "random_crop", "buckets"] = "crop",
        crops: int = 8,
        flip: bool = False,
        background: str = "white",
        masks: str | None = None,
        mask_floor: float = 0.0,
        repeats: int | dict[str, int] = 1,
        batch_size: int = 4,
        num_workers: int = 0,
        val_draws: int = 64,
        stratified: bool = False,
    ):
        """Finds the images and check the settings; no image is decoded yet.

        Args:
            concept: its placeholder token fills the templates, its kind chooses them.
            seed: of the run.
            folder: of the images: a path, `pkg://package/folder` or `hf://datasets/owner/name`.
            recursive: include sub-folders; one called `10_mugs` repeats each of its images 10 times.
            captions: `templates`; the images' own captions, from text `files` beside them or from their file
                `names`; or both combined.
            templates_file: custom templates, one per line, with `{}` for the placeholder token and optionally
                `[caption]` for the image's own caption; None is the standard list.
            shuffle_tags: shuffle the comma-separated tags of an image's own caption for each training example.
            drop_tags: probability of dropping each tag.
            drop_caption: probability of dropping an image's whole caption.
            resolution: side of the square in pixels; None is the resolution that the model was trained at.
            fit: `crop`, `squash`, `random_crop` or `buckets`, for images that are not square.
            crops: number of random crops per image with `fit=random_crop`.
            flip: mirror half of the training examples; not for lettering, logos or faces.
            background: color behind transparent pixels.
            masks: a folder of images with the same names, white where the loss counts, or `alpha`.
            mask_floor: the loss weight where a mask is black.
            repeats: how often a pass uses each image, or a mapping from file name or pattern to that number.
            batch_size: examples in a micro-batch of one process.
            num_workers: processes that prepare batches; 0 is fastest, because latents are cached.
            val_draws: number of fixed examples whose mean loss is `val/loss`.
            stratified: stratify the noise levels over the examples of an optimizer step.

        Raises:
            UserError: a setting or the folder is wrong.
        """
        super().__init__()
        for name, value, minimum in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("val_draws", val_draws, 1),
        ):
            if value < minimum:
                raise UserError(f"data.{name}={value}: must be {minimum} or more.")
        self.seed, self.batch_size, self.num_workers, self.val_draws = seed, batch_size, num_workers, val_draws
        self.stratified = stratified
        self.concept_images = ConceptImages(
            concept,
            locate_folder(folder, recursive=recursive),
            caption_config=CaptionConfig(
                captions=captions,
                templates_file=resolve_path(templates_file) if templates_file else None,
                augmentation=TagAugmentation(shuffle_tags, drop_tags, drop_caption),
            ),
            crop_config=CropConfig(resolution=resolution, fit=fit, crops=crops, flip=flip, background=background),
            recursive=recursive,
            repeats=repeats,
            masks=masks if masks in (None, ALPHA) else resolve_path(masks),
            mask_floor=mask_floor,
            seed=seed,
        )
        self.encoded_images: list[EncodedImage] = []

    @property
    def datamodules(self) -> "list[ConceptDataModule]":
        """The datamodule of each concept: this one."""
        return [self]

    @property
    def images(self) -> list[Path]:
        """The image files."""
        return self.concept_images.paths

    @property
    def digests(self) -> dict[str, str]:
        """A SHA-256 of everything that was encoded, by name; see `ConceptImages.compute_digests`."""
        return self.concept_images.digests

    @property
    def captions(self) -> dict[str, str]:
        """Every possible caption, with the file that it comes from."""
        return self.concept_images.caption_sources()

    def load_crops(self, path: Path, resolution: int) -> list[CroppedImage]:
        """Returns the crops of an image at a given resolution.

        Raises:
            UserError: naming the file and what is wrong with it.
        """
        return self.concept_images.load_crops(path, resolution)

    def encode_images(self, encode: Callable[[Tensor], Tensor], *, resolution: int) -> None:
        """Encodes the images with the frozen VAE; called once, before fit.

        Args:
            encode: [1, 3, H, W] in [-1, 1] -> moments [1, 2C, h, w].
            resolution: the model's own, in pixels; `data.resolution` overrides it.
        """
        self.encoded_images = self.concept_images.encode(encode, resolution)

    def train_dataloader(self) -> DataLoader[TrainingExample]:
        """Returns the micro-batches from the trainer's current step to the end of the run."""
        trainer = self.trainer
        assert self.encoded_images and trainer is not None, "call encode_images() before fit"
        sampler = RunBatchSampler(
            start=trainer.global_step * trainer.accumulate_grad_batches,
            stop=trainer.max_steps * trainer.accumulate_grad_batches,
            batch_size=self.batch_size,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        step_size = self.batch_size * trainer.accumulate_grad_batches * trainer.world_size
        dataset = TrainingDataset(
            self.encoded_images,
            batch_size=self.batch_size,
            seed=self.seed,
            num_strata=step_size if self.stratified else None,
        )
        return self._loader(dataset, sampler, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[TrainingExample]:
        """Returns the fixed examples of `val/loss`."""
        assert self.encoded_images, "call encode_images() before fit"
        dataset = ValidationDataset(self.encoded_images, num_draws=self.val_draws)
        return self._loader(dataset, dataset.batches(self.batch_size))

    def _loader(self, dataset: Any, batches: Any, *, num_workers: int = 0) -> DataLoader[TrainingExample]:
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=num_workers,
            generator=generator(self.seed, "workers"),
        )


class MultiConceptDataModule(LightningDataModule):
    """The datamodules of a run's concepts side by side; each yields what it would yield alone."""

    def __init__(self, datamodules: Sequence[ConceptDataModule]):
        """Combines datamodules, in the order of the module's learned tokens."""
        super().__init__()
        self.datamodules = list(datamodules)

    def encode_images(self, encode: Callable[[Tensor], Tensor], *, resolution: int) -> None:
        """Encodes the images of every concept; see `ConceptDataModule.encode_images`."""
        for data in self.datamodules:
            data.encode_images(encode, resolution=resolution)

    def train_dataloader(self) -> CombinedLoader:
        """Returns lists with one micro-batch of each concept, from the trainer's current step to the end of the run."""
        return CombinedLoader([data.train_dataloader() for data in self._attach_trainer()], "min_size")

    def val_dataloader(self) -> CombinedLoader:
        """Returns lists with one batch of fixed examples of each concept; None for a concept that has no more."""
        return CombinedLoader([data.val_dataloader() for data in self._attach_trainer()], "max_size")

    def _attach_trainer(self) -> list[Any]:
        for data in self.datamodules:
            data.trainer = self.trainer
        return self.datamodules
