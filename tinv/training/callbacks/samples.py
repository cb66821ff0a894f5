"""Each concept as it looks now: fixed prompts x fixed seeds, on one sheet, from step 0 on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from tinv.embeddings import LearnedToken
from tinv.errors import UserError
from tinv.models.sampling import sample_pixels, to_images
from tinv.runs.files import atomic
from tinv.runs.image_grid import labelled_grid, save_sheet
from tinv.runs.layout import samples_path
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.callbacks.logging import log_metrics, log_picture
from tinv.training.callbacks.timing import Stopwatch

_BLACK = 4 / 255
"""A picture whose brightest value is below this is black."""


class Samples(Callback):
    """Writes `samples/step_000500.png` and shows the same sheet, at the same step, in the loggers.

    Where a run has several concepts, each has a sheet: `concepts/cat-toy/samples/step_000500.png`.
    """

    def __init__(
        self,
        dir: Path | str,
        prompts: Sequence[str],
        seeds: Sequence[int],
        every_n_steps: int | None = 100,
        num_inference_steps: int = 25,
        guidance_scale: float = 7.5,
        negative_prompt: str = "",
        batch_size: int = 8,
    ):
        """Args:
            dir: the run's folder.
            prompts: one row of the sheet each; `{}` is the concept's word, others can be written out.
            seeds: one column each.
            every_n_steps: in optimizer steps; None draws the first and the last sheet only.
            num_inference_steps: solver steps a picture.
            guidance_scale: how strictly the pictures follow the prompt.
            negative_prompt: what to steer away from.
            batch_size: how many pictures are drawn at once; only memory and speed depend on it.

        Raises:
            UserError: no prompt, no seed, or a brace too many in a prompt.
        """
        if not prompts or not seeds:
            raise UserError("callbacks.samples needs a prompt and a seed; ~callbacks.samples turns the samples off")
        for prompt in prompts:
            if set("{}") & set(prompt.replace("{}", "")):
                raise UserError(f"callbacks.samples.prompts: {prompt!r} has a stray brace; write {{}} for the word")
        if batch_size < 1:
            raise UserError(f"callbacks.samples.batch_size must be 1 or more, got {batch_size}")
        self.run_dir = Path(dir)
        self.prompts, self.seeds = tuple(prompts), tuple(seeds)
        self.options: dict[str, Any] = {
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "negative_prompt": negative_prompt,
            "batch_size": batch_size,
        }
        self.stopwatch = Stopwatch()
        self._every = EveryNSteps(every_n_steps, setting="callbacks.samples.every_n_steps")

    def path(self, step: int, name: str = "") -> Path:
        """Where the sheet of a step is, of a concept that has a name among others."""
        return samples_path(self.run_dir, step, name)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """The start, or the sheet that a killed run did not get to."""
        step = trainer.global_step
        self._every.begin(step)
        is_there = all(self.path(step, word.name).exists() for word in pl_module.learned_tokens)
        if step == 0 or (self._every.is_multiple(step) and not is_there):
            self._draw(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Every n optimizer steps."""
        if self._every.due(trainer.global_step):
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """The end, if it is not among them."""
        if not self._every.is_multiple(trainer.global_step):
            self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            for word in pl_module.learned_tokens:
                self._draw_one(trainer, pl_module, word)

    def _draw_one(self, trainer: Trainer, pl_module: Any, word: LearnedToken) -> None:
        prompts = [prompt.replace("{}", word.placeholder_token) for prompt in self.prompts]
        with self.stopwatch("sampling"), isolate_rng(), trainer.precision_plugin.forward_context():
            pixels = self._sample(pl_module, prompts)
        is_finite = pixels.isfinite().flatten(1).all(dim=1)
        is_black = is_finite & (pixels.flatten(1).amax(dim=1) < _BLACK)
        pictures = zip(to_images(pixels), is_finite.tolist(), strict=True)
        sheet = labelled_grid(
            [picture if finite else None for picture, finite in pictures],
            rows=prompts,
            columns=[f"seed {seed}" for seed in self.seeds],
        )
        with self.stopwatch("saving"), atomic(self.path(trainer.global_step, word.name)) as draft:
            save_sheet(sheet, draft)
        log_picture(trainer, f"samples{word.suffix}", sheet)
        counts = {"samples/black": is_black, "samples/nonfinite": ~is_finite}
        log_metrics(trainer, {f"{name}{word.suffix}": which.sum().item() for name, which in counts.items()})

    def _sample(self, pl_module: Any, prompts: Sequence[str]) -> Tensor:
        """Pixels [P * S, 3, H, W] of P prompts x S seeds, row by row."""
        repeated = [prompt for prompt in prompts for _ in self.seeds]
        seeds = [*self.seeds] * len(prompts)
        return sample_pixels(pl_module.model, repeated, pl_module.export_vectors(), seeds=seeds, **self.options)
