"""The progress bar of a run."""

import sys
from time import perf_counter
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from tinv.runs.lane import current_lane

_LABELS = {"train/loss": "loss", "val/loss": "val", "train/lr": "lr"}


class Progress(TQDMProgressBar):
    """One bar over all optimizer steps; if stdout is not a terminal, a line after every tenth of the run instead."""

    def __init__(self, refresh_rate: int = 1):
        """refresh_rate: optimizer steps between two updates; 0 turns off the bar and the lines."""
        super().__init__(refresh_rate=refresh_rate)
        self._start_time, self._tenth = 0.0, 0

    def init_train_tqdm(self) -> Tqdm:
        """Returns the bar of the training."""
        return self._bar(leave=True)

    def init_validation_tqdm(self) -> Tqdm:
        """Returns the bar of a validation, which disappears at its end."""
        return self._bar(desc="validation", position=1, leave=False)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Sets the bar to the current step; it ends at the last step of the run."""
        super().on_train_start(trainer, pl_module)
        bar = self.train_progress_bar
        bar.total, bar.initial, bar.n = trainer.max_steps, trainer.global_step, trainer.global_step
        bar.set_description_str(_tokens(pl_module))
        self._start_time = perf_counter()
        self._tenth = 10 * trainer.global_step // trainer.max_steps

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Does nothing, because Lightning would reset the bar."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Counts optimizer steps instead of batches."""
        bar = self.train_progress_bar
        if self.is_disabled or trainer.global_step == bar.n:
            return
        bar.n, bar.total = trainer.global_step, trainer.max_steps  # a request can extend the run
        if bar.n % self.refresh_rate == 0 or bar.n == bar.total:
            bar.set_postfix(self.get_metrics(trainer, pl_module))
        tenth = 10 * bar.n // trainer.max_steps
        if bar.disable and tenth > self._tenth:
            print(self._line(trainer, pl_module), flush=True)
        if lane := current_lane():
            lane.progress = self._progress(trainer, pl_module)
        self._tenth = tenth

    def get_metrics(self, trainer: Trainer, pl_module: Any) -> dict[str, int | str | float | dict[str, float]]:
        """Returns losses and learning rate under short labels."""
        metrics = trainer.progress_bar_metrics
        return {label: f"{float(metrics[name]):.3g}" for name, label in _LABELS.items() if name in metrics}

    def _progress(self, trainer: Trainer, pl_module: Any) -> dict[str, Any]:
        """Returns what the table of a packed sweep shows."""
        bar = self.train_progress_bar
        rate = (bar.n - bar.initial) / (perf_counter() - self._start_time)
        metrics = self.get_metrics(trainer, pl_module)
        left = (trainer.max_steps - bar.n) / rate
        return {"step": bar.n, "max_steps": trainer.max_steps, "steps_per_s": rate, "left": left, "metrics": metrics}

    def _line(self, trainer: Trainer, pl_module: Any) -> str:
        bar = self.train_progress_bar
        rate = (bar.n - bar.initial) / (perf_counter() - self._start_time)
        metrics = "  ".join(f"{label} {value}" for label, value in self.get_metrics(trainer, pl_module).items())
        left = Tqdm.format_interval((trainer.max_steps - bar.n) / rate)
        return f"{_tokens(pl_module)}  step {bar.n}/{trainer.max_steps}  {metrics}  {rate:.2f} steps/s  {left} left"

    def _bar(self, **options: Any) -> Tqdm:
        return Tqdm(
            disable=self.is_disabled or not sys.stdout.isatty(),
            unit=" steps",
            dynamic_ncols=True,
            file=sys.stdout,
            smoothing=0,
            bar_format=self.BAR_FORMAT,
            **options,
        )


def _tokens(pl_module: Any) -> str:
    return " ".join(token.placeholder_token for token in pl_module.learned_tokens)
