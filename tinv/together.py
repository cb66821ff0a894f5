"""The pictures of a run: of each of its concepts a batch at every step."""

from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor

from tinv.data.datamodule import ConceptDataModule


class MultiConceptDataModule(LightningDataModule):
    """One datamodule made of those of the concepts, each of which shows what it would show alone."""

    def __init__(self, parts: Sequence[ConceptDataModule]):
        """Args:
        parts: of each concept, in the order of the module's words.
        """
        super().__init__()
        self.parts = list(parts)

    def connect(self, encode: Callable[[Tensor], Tensor], *, resolution: int) -> None:
        """Encode the pictures of every concept; see `ConceptDataModule.connect`."""
        for part in self.parts:
            part.connect(encode, resolution=resolution)

    def train_dataloader(self) -> CombinedLoader:
        """Lists of a micro-batch of each concept, from where the run stands to its end."""
        return CombinedLoader([part.train_dataloader() for part in self._attached()], "min_size")

    def val_dataloader(self) -> CombinedLoader:
        """Lists of a batch of each concept's fixed draws; None in the place of one that has no more."""
        return CombinedLoader([part.val_dataloader() for part in self._attached()], "max_size")

    def _attached(self) -> list[Any]:
        for part in self.parts:
            part.trainer = self.trainer
        return self.parts
