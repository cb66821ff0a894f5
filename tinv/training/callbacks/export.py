"""The learned embedding on disk, for everybody's programs."""

import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from tinv.errors import UserError
from tinv.formats import EXPORT_FORMATS, FORMATS, PIPELINE, LearnedEmbedding, get_format, write
from tinv.inference import export_pipeline as merged
from tinv.runs.files import write_text
from tinv.runs.layout import (
    CONCEPT_TYPE,
    TOKEN_IDENTIFIER,
    concept_dir,
    list_step_embeddings,
    step_embedding_path,
)
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.callbacks.keep_best import KeepBest
from tinv.training.callbacks.timing import Stopwatch


class Export(Callback):
    """Writes `learned_embeds.safetensors` at the end, and `learned_embeds-steps-500.safetensors` on the way.

    Beside it stand `token_identifier.txt` and `type_of_concept.txt`, as in the folders of the sd-concepts-library, and
    the same word in other formats. Where a run has several concepts, each has a folder of its own, such as
    `concepts/cat-toy/`, and a pipeline has all of them. A file is only ever replaced by finite numbers: after a failure
    the last good embedding is there.
    """

    def __init__(
        self,
        dir: Path | str,
        every_n_steps: int | None = 500,
        total_limit: int | None = None,
        formats: Sequence[str] = ("diffusers",),
        license: str | None = None,
    ):
        """Args:
        dir: the run's folder.
        every_n_steps: in optimizer steps; None writes the end only.
        keep: how many of the newest files on the way to keep; None keeps all.
        formats: in which the end is written, beside diffusers' own, which is what other commands read.
        license: of the embedding, as an SPDX identifier; None says nothing.
        """
        if unknown := [name for name in formats if name not in EXPORT_FORMATS]:
            raise UserError(
                f"callbacks.export.formats must be a list of {', '.join(EXPORT_FORMATS)}, got {', '.join(map(str, unknown))}"
            )
        if total_limit is not None and total_limit < 1:
            raise UserError(
                f"callbacks.export.total_limit must be 1 or more, got {total_limit}; null keeps all of them"
            )
        self.folder = Path(dir)
        self.stopwatch = Stopwatch()
        self.total_limit, self.license = total_limit, license
        self._others = [get_format(name) for name in FORMATS[1:] if name in formats]
        self._with_pipeline = PIPELINE in formats
        self._every = EveryNSteps(every_n_steps, setting="callbacks.export.every_n_steps")
        self._began = datetime.now(UTC)
        self._has_begun = False

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Whether the formats have room for the model's vectors, before the first step."""
        for learned in pl_module.learned_embeddings():
            try:
                for chosen in self._others:
                    chosen.check(learned)
                if self._with_pipeline:
                    merged.check(learned)
            except UserError as error:
                raise UserError(f"callbacks.export.formats: {error}") from error

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """From here on there is something to keep."""
        self._has_begun = True
        self._every.begin(trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Every n optimizer steps."""
        if self._every.due(trainer.global_step):
            for folder, learned in self._learned(trainer, pl_module).items():
                self._write(learned, step_embedding_path(folder, trainer.global_step))
                self._forget_oldest(folder)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """The result; also when the checkpoint that a run goes on from was its last one already."""
        learned = self._write_result(trainer, pl_module)
        if self._with_pipeline and len(learned) == len(pl_module.learned_tokens):
            with self.stopwatch("saving"):
                merged.write(self.folder / PIPELINE, learned, pl_module.model)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """What was learned until then, unless the disk is what failed."""
        if self._has_begun:
            try:
                self._write_result(trainer, pl_module)
            except UserError as error:
                warnings.warn(f"the embedding was not saved: {error}", stacklevel=2)

    def _write_result(self, trainer: Trainer, pl_module: Any) -> list[LearnedEmbedding]:
        found = self._learned(trainer, pl_module, _keeper(trainer))
        for folder, learned in found.items():
            self._write(learned, folder / get_format(FORMATS[0]).file_name)
            for chosen in self._others:
                self._write(learned, chosen.default_path(folder, learned), chosen.name)
        for word in pl_module.learned_tokens if trainer.is_global_zero else ():
            folder = concept_dir(self.folder, word.name)
            write_text(folder / TOKEN_IDENTIFIER, word.placeholder_token + "\n")
            write_text(folder / CONCEPT_TYPE, word.concept.kind + "\n")
        return [*found.values()]

    def _learned(
        self, trainer: Trainer, pl_module: Any, keeper: KeepBest | None = None
    ) -> dict[Path, LearnedEmbedding]:
        """The words with all that is known of them, by folder; nothing on all processes but one, and none that is not
        finite."""
        found: dict[Path, LearnedEmbedding] = {}
        if not trainer.is_global_zero:
            return found
        parts = trainer.datamodule.datamodules  # type: ignore[attr-defined]
        for word, part, latest in zip(pl_module.learned_tokens, parts, pl_module.learned_embeddings(), strict=True):
            learned = keeper.choose(word.name, latest) if keeper else latest
            if not all(rows.isfinite().all() for rows in learned.vectors.values()):
                which = f" of {word.placeholder_token}" if word.name else ""
                warnings.warn(f"learned_embeds{which} was not written: the embedding is not finite", stacklevel=2)
                continue
            side = part.concept_images.crop_config.resolution or pl_module.model.resolution
            told = {"date": f"{self._began:%Y-%m-%dT%H:%M:%SZ}", "resolution": str(side)}
            told |= {"license": self.license} if self.license else {}
            whole = LearnedEmbedding(learned.placeholder_token, learned.vectors, {**learned.provenance, **told})
            found[concept_dir(self.folder, word.name)] = whole
        return found

    def _write(self, learned: LearnedEmbedding, path: Path, format: str | None = None) -> None:
        with self.stopwatch("saving"):
            write(path, learned, format)

    def _forget_oldest(self, folder: Path) -> None:
        if self.total_limit is not None:
            for paths in list(list_step_embeddings(folder).values())[: -self.total_limit]:
                for path in paths:
                    path.unlink(missing_ok=True)


def _keeper(trainer: Any) -> KeepBest | None:
    return next((callback for callback in trainer.callbacks if isinstance(callback, KeepBest)), None)
