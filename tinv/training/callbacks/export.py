"""Writes the learned embedding in the formats of diffusers and of other programs."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from tinv.errors import RunDiscarded, UserError, require_minimum
from tinv.formats import EXPORT_FORMATS, FORMATS, PIPELINE, LearnedEmbedding, get_format, write
from tinv.inference import export_pipeline
from tinv.runs.files import write_text
from tinv.runs.layout import (
    CONCEPT_TYPE,
    TOKEN_IDENTIFIER,
    concept_dir,
    export_dir,
    list_step_embeddings,
    step_embedding_path,
)
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.callbacks.keep_best import KeepBest
from tinv.training.callbacks.timing import Stopwatch


class Export(Callback):
    """Writes `learned_embeds.safetensors` at the end, and `learned_embeds-steps-500.safetensors` during the training.

    It also writes `token_identifier.txt` and `type_of_concept.txt`, as the sd-concepts-library has them, and the
    embedding in other formats. In a run of several concepts each has a folder of its own, such as `concepts/cat-toy/`,
    and a pipeline contains all of them. A file is only replaced by finite values: after a failure the last good
    embedding remains.
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
        every_n_steps: interval in optimizer steps; None writes only the result.
        total_limit: number of files of intermediate steps to keep, the newest; None keeps all.
        formats: formats of the result; `diffusers`, which other commands read, is always written.
        license: license of the embedding as an SPDX identifier; None writes none.
        """
        if unknown := [name for name in formats if name not in EXPORT_FORMATS]:
            remedy = f"Choose from {', '.join(EXPORT_FORMATS)}."
            raise UserError(f"callbacks.export.formats={unknown}: unknown formats. {remedy}")
        require_minimum("callbacks.export.total_limit", total_limit, 1, "null keeps all.")
        self.run_dir, self.stopwatch = Path(dir), Stopwatch()
        self.total_limit, self.license = total_limit, license
        self._formats = [get_format(name) for name in FORMATS[1:] if name in formats]
        self._with_pipeline = PIPELINE in formats
        self._every = EveryNSteps(every_n_steps, setting="callbacks.export.every_n_steps")
        self._start = datetime.now(UTC)
        self._has_started = False

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Checks before the first step that the formats can hold the model's vectors.

        Raises:
            UserError: a format cannot.
        """
        for learned in pl_module.learned_embeddings():
            try:
                for format in self._formats:
                    format.check(learned)
                if self._with_pipeline:
                    export_pipeline.check(learned)
            except UserError as error:
                raise UserError(f"callbacks.export.formats: {error}") from error

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """From here on a failed run writes its result."""
        self._has_started = True
        self._every.reset(trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if self._every.is_due(trainer.global_step):
            for folder, learned in self._finite_embeddings(trainer, pl_module).items():
                self._write(learned, step_embedding_path(folder, trainer.global_step))
                if self.total_limit is not None:
                    for paths in list(list_step_embeddings(folder).values())[: -self.total_limit]:
                        for path in paths:
                            path.unlink(missing_ok=True)

    def export_now(self, trainer: Trainer, pl_module: Any, format_name: str) -> list[Path]:
        """Writes the present embedding of each concept in a format, beside the result; returns the files.

        Raises:
            UserError: the format cannot hold the vectors, or the folder cannot be written.
        """
        format, written = get_format(format_name), list[Path]()
        for folder, learned in self._finite_embeddings(trainer, pl_module).items():
            format.check(learned)
            path = format.default_path(export_dir(folder, trainer.global_step), learned)
            written += self._write(learned, path, format.name)
        return written

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Writes the result, also if the run was resumed from the checkpoint of its last step."""
        learned = self._write_result(trainer, pl_module)
        if self._with_pipeline and len(learned) == len(pl_module.learned_tokens):
            with self.stopwatch("saving"):
                export_pipeline.write(self.run_dir / PIPELINE, learned, pl_module.model)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Writes what a failed run has learned, if the disk allows it; not if it was discarded."""
        if self._has_started and not isinstance(exception, RunDiscarded):
            try:
                self._write_result(trainer, pl_module)
            except UserError as error:
                warnings.warn(f"the embedding was not saved: {error}", stacklevel=2)

    def _write_result(self, trainer: Trainer, pl_module: Any) -> list[LearnedEmbedding]:
        keep_best = next((c for c in trainer.callbacks if isinstance(c, KeepBest)), None)  # type: ignore[attr-defined]
        embeddings = self._finite_embeddings(trainer, pl_module, keep_best)
        for folder, learned in embeddings.items():
            self._write(learned, folder / get_format(FORMATS[0]).file_name)
            for format in self._formats:
                self._write(learned, format.default_path(folder, learned), format.name)
        for token in pl_module.learned_tokens if trainer.is_global_zero else ():
            folder = concept_dir(self.run_dir, token.name)
            write_text(folder / TOKEN_IDENTIFIER, token.placeholder_token + "\n")
            write_text(folder / CONCEPT_TYPE, token.concept.kind + "\n")
        return [*embeddings.values()]

    def _finite_embeddings(
        self, trainer: Trainer, pl_module: Any, keep_best: KeepBest | None = None
    ) -> dict[Path, LearnedEmbedding]:
        """Returns the finite embeddings with their metadata by folder; none on all processes but the first."""
        embeddings: dict[Path, LearnedEmbedding] = {}
        if not trainer.is_global_zero:
            return embeddings
        parts = trainer.datamodule.datamodules  # type: ignore[attr-defined]
        for token, part, latest in zip(pl_module.learned_tokens, parts, pl_module.learned_embeddings(), strict=True):
            learned = keep_best.select(token.name, latest) if keep_best else latest
            if not all(vectors.isfinite().all() for vectors in learned.vectors.values()):
                of_token = f" of {token.placeholder_token}" if token.name else ""
                warnings.warn(f"learned_embeds{of_token} was not written: the embedding is not finite", stacklevel=2)
                continue
            resolution = part.concept_images.crop_config.resolution or pl_module.model.resolution
            metadata = {"date": f"{self._start:%Y-%m-%dT%H:%M:%SZ}", "resolution": str(resolution)}
            provenance = {**learned.provenance, **metadata, **({"license": self.license} if self.license else {})}
            embeddings[concept_dir(self.run_dir, token.name)] = replace(learned, provenance=provenance)
        return embeddings

    def _write(self, learned: LearnedEmbedding, path: Path, format: str | None = None) -> list[Path]:
        with self.stopwatch("saving"):
            return write(path, learned, format)
