"""The pictures of a concept as a LightningDataModule."""

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
from tinv.data.dataset import (
    EncodedImage,
    RunBatchSampler,
    TrainingDataset,
    TrainingExample,
    ValidationDataset,
    collate,
)
from tinv.data.images import CroppedImage
from tinv.data.locate import locate_folder
from tinv.data.masks import ALPHA
from tinv.errors import UserError
from tinv.runs.files import locate
from tinv.seeding import generator


class ConceptDataModule(LightningDataModule):
    """A folder of pictures, captioned, encoded once.

    One epoch is the whole run: the training loader holds `max_steps` x `accumulate_grad_batches` micro-batches, less
    those that a resumed run has behind it.
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
        """Find the pictures and check the settings; nothing is decoded yet.

        Args:
            concept: its word fills the templates, its kind chooses them.
            seed: of the run.
            folder: holds the pictures; a path, `pkg://package/folder` or `hf://datasets/owner/name`.
            recursive: take those in sub-folders, too; one called `10_mugs` counts each of its pictures 10 times.
            captions: `templates`, or the pictures' own from text `files` beside them or from their `names`, or both
                together.
            templates_file: templates of your own, one a line with `{}` for the word and, if wanted, `[caption]` for
                the picture's own caption; None is the standard set.
            shuffle_tags: put what stands between the commas of a picture's caption into another order each time.
            drop_tags: how often each of these is left out.
            drop_caption: how often a picture's whole caption is left out.
            resolution: side of the square in pixels; None is what the model was trained at.
            fit: `crop`, `squash`, `random_crop` or `buckets`, for pictures that are not square.
            crops: how many there are of each picture with `random_crop`.
            flip: show each picture mirrored half of the time; not for lettering, logos, faces with a parting.
            background: colour behind transparent parts.
            masks: a folder of pictures of the same names, white where the loss counts, or `alpha`.
            mask_floor: what the loss counts where it is masked.
            repeats: how often a pass over the pictures shows each, or of which file name or pattern how often.
            batch_size: pictures in a micro-batch of one process.
            num_workers: processes that prepare batches; with cached latents 0 is fastest.
            val_draws: how many fixed draws `val/loss` is the mean of.
            stratified: share the noise levels out among the samples of an optimizer step.

        Raises:
            UserError: a setting or the folder is wrong.
        """
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("val_draws", val_draws, 1),
        ):
            if value < least:
                raise UserError(f"data.{name} must be {least} or more, got {value}")
        self.seed, self.batch_size, self.num_workers, self.val_draws = seed, batch_size, num_workers, val_draws
        self.stratified = stratified
        self.concept_images = ConceptImages(
            concept,
            locate_folder(folder, recursive=recursive),
            caption_config=CaptionConfig(
                captions=captions,
                templates_file=locate(templates_file) if templates_file else None,
                tags=TagAugmentation(shuffle_tags, drop_tags, drop_caption),
            ),
            crop_config=CropConfig(resolution=resolution, fit=fit, crops=crops, flip=flip, background=background),
            recursive=recursive,
            repeats=repeats,
            masks=masks if masks in (None, ALPHA) else locate(masks),
            mask_floor=mask_floor,
            seed=seed,
        )
        self.encoded_images: list[EncodedImage] = []

    @property
    def datamodules(self) -> "list[ConceptDataModule]":
        """The datamodules of the concepts: this one."""
        return [self]

    @property
    def images(self) -> list[Path]:
        """The pictures' files."""
        return self.concept_images.images

    @property
    def captions(self) -> dict[str, str]:
        """Every caption that may be shown, with the place where it is written."""
        return self.concept_images.caption_sources()

    def load_crops(self, path: Path, resolution: int) -> list[CroppedImage]:
        """A picture in every cut that is shown, at a resolution that need not be that of the settings.

        Raises:
            UserError: naming the file and what is wrong with it.
        """
        return self.concept_images.load_crops(path, resolution)

    def encode_images(self, encode: Callable[[Tensor], Tensor], *, resolution: int) -> None:
        """Encode the pictures with the frozen VAE; called once, before fit.

        Args:
            encode: [1, 3, H, W] in [-1, 1] -> moments [1, 2C, h, w].
            resolution: the model's own, in pixels; used unless the settings name one.
        """
        self.encoded_images = self.concept_images.encode(encode, resolution)

    def train_dataloader(self) -> DataLoader[TrainingExample]:
        """Micro-batches from where the run stands to its end."""
        trainer = self.trainer
        assert self.encoded_images and trainer is not None, "connect() comes before fit"
        sampler = RunBatchSampler(
            start=trainer.global_step * trainer.accumulate_grad_batches,
            stop=trainer.max_steps * trainer.accumulate_grad_batches,
            batch_size=self.batch_size,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        strata = self.batch_size * trainer.accumulate_grad_batches * trainer.world_size if self.stratified else None
        samples = TrainingDataset(self.encoded_images, batch_size=self.batch_size, seed=self.seed, strata=strata)
        return self._loader(samples, sampler, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[TrainingExample]:
        """The fixed draws of `val/loss`."""
        assert self.encoded_images, "connect() comes before fit"
        samples = ValidationDataset(self.encoded_images, num_draws=self.val_draws)
        return self._loader(samples, samples.batches(self.batch_size))

    def _loader(self, samples: Any, batches: Any, *, num_workers: int = 0) -> DataLoader[TrainingExample]:
        return DataLoader(
            samples,
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=num_workers,
            generator=generator(self.seed, "workers"),
        )


class MultiConceptDataModule(LightningDataModule):
    """One datamodule made of those of the concepts, each of which shows what it would show alone."""

    def __init__(self, datamodules: Sequence[ConceptDataModule]):
        """Args:
        datamodules: of each concept, in the order of the module's words.
        """
        super().__init__()
        self.datamodules = list(datamodules)

    def encode_images(self, encode: Callable[[Tensor], Tensor], *, resolution: int) -> None:
        """Encode the pictures of every concept; see `ConceptDataModule.connect`."""
        for part in self.datamodules:
            part.encode_images(encode, resolution=resolution)

    def train_dataloader(self) -> CombinedLoader:
        """Lists of a micro-batch of each concept, from where the run stands to its end."""
        return CombinedLoader([part.train_dataloader() for part in self._attached()], "min_size")

    def val_dataloader(self) -> CombinedLoader:
        """Lists of a batch of each concept's fixed draws; None in the place of one that has no more."""
        return CombinedLoader([part.val_dataloader() for part in self._attached()], "max_size")

    def _attached(self) -> list[Any]:
        for part in self.datamodules:
            part.trainer = self.trainer
        return self.datamodules
