"""One line for the whole run."""

import sys
from time import perf_counter
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

_SHORT = {"train/loss": "loss", "val/loss": "val", "train/lr": "lr"}


class Progress(TQDMProgressBar):
    """A bar of optimizer steps with loss, rate and time left; where no terminal is watching, a line every tenth."""

    def __init__(self, refresh_rate: int = 1):
        """Args:
        refresh_rate: optimizer steps between two updates; 0 turns the bar and the lines off.
        """
        super().__init__(refresh_rate=refresh_rate)
        self._began_at = 0.0
        self._tenth = 0

    def init_train_tqdm(self) -> Tqdm:
        """A bar on a terminal, nothing elsewhere."""
        return self._bar(leave=True)

    def init_validation_tqdm(self) -> Tqdm:
        """A passing bar under the other one."""
        return self._bar(desc="validation", position=1, leave=False)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """From the step that the run begins or goes on at, to its last."""
        super().on_train_start(trainer, pl_module)
        bar = self.train_progress_bar
        bar.total, bar.initial, bar.n = trainer.max_steps, trainer.global_step, trainer.global_step
        bar.set_description_str(_words(pl_module))
        self._began_at = perf_counter()
        self._tenth = 10 * trainer.global_step // trainer.max_steps

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """One bar for the whole run: nothing begins again."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Optimizer steps, not batches."""
        bar = self.train_progress_bar
        if self.is_disabled or trainer.global_step == bar.n:
            return
        bar.n = trainer.global_step
        if bar.n % self.refresh_rate == 0 or bar.n == bar.total:
            bar.set_postfix(self.get_metrics(trainer, pl_module))
        tenth = 10 * bar.n // trainer.max_steps
        if bar.disable and tenth > self._tenth:
            print(self._line(trainer, pl_module), flush=True)
        self._tenth = tenth

    def get_metrics(self, trainer: Trainer, pl_module: Any) -> dict[str, int | str | float | dict[str, float]]:
        """Losses and rate, by short names."""
        numbers = trainer.progress_bar_metrics
        return {short: f"{float(numbers[name]):.3g}" for name, short in _SHORT.items() if name in numbers}

    def _line(self, trainer: Trainer, pl_module: Any) -> str:
        bar = self.train_progress_bar
        rate = (bar.n - bar.initial) / (perf_counter() - self._began_at)
        numbers = "  ".join(f"{name} {value}" for name, value in self.get_metrics(trainer, pl_module).items())
        left = Tqdm.format_interval((trainer.max_steps - bar.n) / rate)
        return f"{_words(pl_module)}  step {bar.n}/{trainer.max_steps}  {numbers}  {rate:.2f} steps/s  {left} left"

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


def _words(pl_module: Any) -> str:
    return " ".join(word.placeholder_token for word in pl_module.learned_tokens)
