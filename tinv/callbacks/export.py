"""The learned embedding on disk, for everybody's programs."""

import re
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from tinv.callbacks.cadence import Every
from tinv.callbacks.phases import Stopwatch
from tinv.errors import UserError
from tinv.files import write_text
from tinv.formats import FORMATS, NAMES, PIPELINE, LearnedEmbedding, write
from tinv.models import merged

_STEP_FILE = re.compile(r"learned_embeds(_2)?-steps-(\d+)\.safetensors")


class Export(Callback):
    """Writes `learned_embeds.safetensors` at the end, and `learned_embeds-steps-500.safetensors` on the way.

    Beside it stand `token_identifier.txt` and `type_of_concept.txt`, as in the folders of the sd-concepts-library, and
    the same word in other formats. A file is only ever replaced by finite numbers: after a failure the last good
    embedding is there.
    """

    def __init__(
        self,
        dir: Path | str,
        every_n_steps: int | None = 500,
        keep: int | None = None,
        formats: Sequence[str] = ("diffusers",),
        licence: str | None = None,
    ):
        """Args:
        dir: the run's folder.
        every_n_steps: in optimizer steps; None writes the end only.
        keep: how many of the newest files on the way to keep; None keeps all.
        formats: in which the end is written, beside diffusers' own, which is what other commands read.
        licence: of the embedding, as an SPDX identifier; None says nothing.
        """
        if unknown := [name for name in formats if name not in NAMES]:
            raise UserError(
                f"callbacks.export.formats must be a list of {', '.join(NAMES)}, got {', '.join(map(str, unknown))}"
            )
        if keep is not None and keep < 1:
            raise UserError(f"callbacks.export.keep must be 1 or more, got {keep}; null keeps all of them")
        self.folder = Path(dir)
        self.stopwatch = Stopwatch()
        self.keep, self.licence = keep, licence
        self._others = [chosen for chosen in FORMATS[1:] if chosen.name in formats]
        self._with_pipeline = PIPELINE in formats
        self._every = Every(every_n_steps, setting="callbacks.export.every_n_steps")
        self._began = datetime.now(UTC)
        self._has_begun = False

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Whether the formats have room for the model's vectors, before the first step."""
        learned = pl_module.learned()
        for chosen in self._others:
            try:
                chosen.check(learned)
            except UserError as error:
                raise UserError(f"callbacks.export.formats: {error}") from error

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """From here on there is something to keep."""
        self._has_begun = True
        self._every.begin(trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Every n optimizer steps."""
        if self._every.due(trainer.global_step):
            learned = self._learned(trainer, pl_module)
            if learned:
                self._write(learned, f"learned_embeds-steps-{trainer.global_step}.safetensors")
                self._forget_oldest()

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """The result; also when the checkpoint that a run goes on from was its last one already."""
        learned = self._write_result(trainer, pl_module)
        if learned and self._with_pipeline:
            with self.stopwatch("saving"):
                merged.write(self.folder / PIPELINE, [learned], pl_module.model)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """What was learned until then, unless the disk is what failed."""
        if self._has_begun:
            try:
                self._write_result(trainer, pl_module)
            except UserError as error:
                warnings.warn(f"the embedding was not saved: {error}", stacklevel=2)

    def _write_result(self, trainer: Trainer, pl_module: Any) -> LearnedEmbedding | None:
        learned = self._learned(trainer, pl_module)
        if learned:
            self._write(learned, FORMATS[0].file_name)
            for chosen in self._others:
                self._write(learned, chosen.place(self.folder, learned).name, chosen.name)
        if trainer.is_global_zero:
            write_text(self.folder / "token_identifier.txt", pl_module.concept.placeholder + "\n")
            write_text(self.folder / "type_of_concept.txt", pl_module.concept.kind + "\n")
        return learned

    def _learned(self, trainer: Trainer, pl_module: Any) -> LearnedEmbedding | None:
        """The word with all that is known of it; None on all processes but one, or if it is not finite."""
        if not trainer.is_global_zero:
            return None
        learned = pl_module.learned()
        if not all(rows.isfinite().all() for rows in learned.vectors.values()):
            warnings.warn("learned_embeds was not written: the embedding is not finite", stacklevel=2)
            return None
        told = {"date": f"{self._began:%Y-%m-%dT%H:%M:%SZ}", "resolution": _resolution(trainer, pl_module)}
        told |= {"license": self.licence} if self.licence else {}
        return LearnedEmbedding(learned.placeholder, learned.vectors, {**learned.provenance, **told})

    def _write(self, learned: LearnedEmbedding, name: str, format: str = "diffusers") -> None:
        with self.stopwatch("saving"):
            write(self.folder / name, learned, format)

    def _forget_oldest(self) -> None:
        if self.keep is not None:
            found = {path: match for path in self.folder.iterdir() if (match := _STEP_FILE.fullmatch(path.name))}
            newest = sorted({int(match[2]) for match in found.values()})[-self.keep :]
            for path, match in found.items():
                if int(match[2]) not in newest:
                    path.unlink(missing_ok=True)


def _resolution(trainer: Trainer, pl_module: Any) -> str:
    """The side of the pictures in pixels."""
    return str(trainer.datamodule.pictures.framing.resolution or pl_module.model.resolution)  # type: ignore[attr-defined]
