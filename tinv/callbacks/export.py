"""The learned embedding on disk, for everybody's programs."""

import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from tinv import formats
from tinv.callbacks.cadence import Every
from tinv.callbacks.phases import Stopwatch
from tinv.errors import UserError
from tinv.files import write_text


class Export(Callback):
    """Writes `learned_embeds.safetensors` at the end, and `learned_embeds-steps-500.safetensors` on the way.

    Beside it stand `token_identifier.txt` and `type_of_concept.txt`, as in the folders of the sd-concepts-library.
    A file is only ever replaced by finite numbers: after a failure the last good embedding is there.
    """

    def __init__(self, dir: Path | str, every_n_steps: int | None = 500):
        """Args:
        dir: the run's folder.
        every_n_steps: in optimizer steps; None writes the end only.
        """
        self.folder = Path(dir)
        self.stopwatch = Stopwatch()
        self._every = Every(every_n_steps, setting="callbacks.export.every_n_steps")
        self._has_begun = False

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """From here on there is something to keep."""
        self._has_begun = True
        self._every.begin(trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Every n optimizer steps."""
        if self._every.due(trainer.global_step):
            self._write(trainer, pl_module, f"learned_embeds-steps-{trainer.global_step}.safetensors")

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """The result; also when the checkpoint that a run goes on from was its last one already."""
        self._write_result(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """What was learned until then, unless the disk is what failed."""
        if self._has_begun:
            try:
                self._write_result(trainer, pl_module)
            except UserError as error:
                warnings.warn(f"the embedding was not saved: {error}", stacklevel=2)

    def _write_result(self, trainer: Trainer, pl_module: Any) -> None:
        self._write(trainer, pl_module, "learned_embeds.safetensors")
        if trainer.is_global_zero:
            write_text(self.folder / "token_identifier.txt", pl_module.concept.placeholder + "\n")
            write_text(self.folder / "type_of_concept.txt", pl_module.concept.kind + "\n")

    def _write(self, trainer: Trainer, pl_module: Any, name: str) -> None:
        if not trainer.is_global_zero:
            return
        learned = pl_module.learned()
        if not all(rows.isfinite().all() for rows in learned.vectors.values()):
            warnings.warn(f"{name} was not written: the embedding is not finite", stacklevel=2)
            return
        with self.stopwatch("saving"):
            formats.write(self.folder / name, learned)
