"""Sample images of each concept during training: fixed prompts x fixed seeds, in one image file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from PIL import Image

from tinv.errors import UserError, require_minimum
from tinv.models.sampling import sample_pixels, to_images
from tinv.runs.files import write_atomically
from tinv.runs.image_grid import draw_grid, save_grid
from tinv.runs.layout import samples_path
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.callbacks.logging import log_image, log_metrics
from tinv.training.callbacks.timing import Stopwatch

_BLACK = 4 / 255
"""An image counts as black if its largest pixel value is below this."""


@dataclass(frozen=True)
class SampleSheet:
    """Samples in one image."""

    image: Image.Image
    num_black: int
    num_nonfinite: int


class Samples(Callback):
    """Writes a sample sheet `samples/step_000500.png` and sends it to the loggers, at the same step.

    In a run of several concepts each has its own sheet: `concepts/cat-toy/samples/step_000500.png`.
    """

    def __init__(
        self,
        dir: Path | str,
        prompts: Sequence[str],
        seeds: Sequence[int],
        every_n_steps: int | None = 100,
        num_inference_steps: int = 25,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        batch_size: int = 8,
    ):
        """Args:
            prompts: prompts to draw from, one row of the sheet each; `{}` is the concept's placeholder token.
            seeds: seeds of the initial noise, one column each.
            every_n_steps: interval in optimizer steps; None draws only the first and the last sheet.
            num_inference_steps: steps of the sampler.
            guidance_scale: scale of classifier-free guidance; None is the usual one of the model's family.
            negative_prompt: prompt to steer away from.
            batch_size: images sampled at once; affects only memory and speed.

        Raises:
            UserError: no prompt, no seed, or a stray brace in a prompt.
        """
        if not prompts or not seeds:
            raise UserError("callbacks.samples: needs a prompt and a seed. ~callbacks.samples turns the samples off.")
        for prompt in prompts:
            if set("{}") & set(prompt.replace("{}", "")):
                raise UserError(f"callbacks.samples.prompts: {prompt!r} has a stray brace. Write {{}} for the token.")
        require_minimum("callbacks.samples.batch_size", batch_size, 1)
        self.run_dir = Path(dir)
        self.prompts, self.seeds = tuple(prompts), tuple(seeds)
        self.options: dict[str, Any] = {"num_inference_steps": num_inference_steps, "batch_size": batch_size}
        self.options |= {"guidance_scale": guidance_scale, "negative_prompt": negative_prompt}
        self.stopwatch = Stopwatch()
        self._every = EveryNSteps(every_n_steps, setting="callbacks.samples.every_n_steps")

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Draws the first sheet, or the sheet that a killed run had not written."""
        self._every.reset(step := trainer.global_step)
        exists = all(samples_path(self.run_dir, step, token.name).exists() for token in pl_module.learned_tokens)
        if step == 0 or (self._every.is_multiple(step) and not exists):
            self._draw(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if self._every.is_due(trainer.global_step):
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draws the last sheet unless it has just been drawn."""
        if not self._every.is_multiple(trainer.global_step):
            self._draw(trainer, pl_module)

    def draw_sheet(
        self, trainer: Trainer, pl_module: Any, prompts: Sequence[str], seeds: Sequence[int], **options: Any
    ) -> SampleSheet:
        """Returns a sheet of the present vectors; the prompts have their tokens, and `options` replace those given."""
        repeated, columns = [prompt for prompt in prompts for _ in seeds], [*seeds] * len(prompts)
        with self.stopwatch("sampling"), isolate_rng(), trainer.precision_plugin.forward_context():
            vectors = pl_module.export_vectors()
            x_BCHW = sample_pixels(pl_module.model, repeated, vectors, seeds=columns, **self.options | options)
        is_finite_B = x_BCHW.isfinite().flatten(1).all(dim=1)
        is_black_B = is_finite_B & (x_BCHW.flatten(1).amax(dim=1) < _BLACK)
        finite = zip(to_images(x_BCHW), is_finite_B.tolist(), strict=True)
        images = [image if is_finite else None for image, is_finite in finite]
        sheet = draw_grid(images, rows=prompts, columns=[f"seed {seed}" for seed in seeds])
        return SampleSheet(sheet, int(is_black_B.sum()), int((~is_finite_B).sum()))

    def _draw(self, trainer: Trainer, pl_module: Any) -> None:
        for token in pl_module.learned_tokens if trainer.is_global_zero else ():
            prompts = [prompt.replace("{}", token.placeholder_token) for prompt in self.prompts]
            sheet = self.draw_sheet(trainer, pl_module, prompts, self.seeds)
            path = samples_path(self.run_dir, trainer.global_step, token.name)
            with self.stopwatch("saving"), write_atomically(path) as temporary:
                save_grid(sheet.image, temporary)
            log_image(trainer, f"samples{token.suffix}", sheet.image)
            counts = {"samples/black": sheet.num_black, "samples/nonfinite": sheet.num_nonfinite}
            log_metrics(trainer, {f"{name}{token.suffix}": count for name, count in counts.items()})
