"""TensorBoard: `tensorboard --logdir outputs`."""

from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from lightning.pytorch.loggers import TensorBoardLogger as LightningTensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.optional_deps import remedy
from tinv.training.loggers.base import ExperimentLogger, said
from tinv.training.loggers.run_artifacts import words


class TensorBoardLogger(LightningTensorBoardLogger, ExperimentLogger):
    """Keeps its files in `tensorboard/` of the run's folder. A run that goes on repeats nothing but equal numbers."""

    def __init__(self, dir: Path | str):
        """Args:
        dir: the run's folder.

        Raises:
            UserError: TensorBoard is not installed.
        """
        try:
            super().__init__(save_dir=dir, name="tensorboard", version="")
        except ModuleNotFoundError as error:
            raise UserError(f"logger=tensorboard needs TensorBoard, which is missing{remedy('tensorboard')}") from error

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, metrics: Any = None, step: int | None = None) -> None:
        """The settings: as hyperparameters to compare runs by, beside the monitored number, and as text to read."""
        from torch.utils.tensorboard.summary import hparams

        settings = vars(params) if isinstance(params, Namespace) else dict(params)
        monitored = {settings["monitor"]: 0.0} if settings.get("monitor") else {}  # its scalars are looked up by name
        for summary in hparams(dict(_flat(settings)), monitored):
            self.experiment.file_writer.add_summary(summary)
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        self.experiment.add_text("settings", "\n".join(f"    {line}" for line in text.splitlines()), 0)

    @rank_zero_only
    def log_picture(self, name: str, picture: Image.Image, step: int) -> None:
        """The picture as it is."""
        self.experiment.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    @rank_zero_only
    def log_words(self, name: str, rows: Mapping[str, str], step: int) -> None:
        """As a table in Markdown."""
        lines = [f"| `{word}` | {text} |" for word, text in rows.items()]
        self.experiment.add_text(name, "\n".join(["| | |", "|---|---|", *lines]), step)

    @rank_zero_only
    def end(self, error: BaseException | None, settings: dict[str, Any] | None = None) -> None:
        """What is known of the words, for TensorBoard keeps no files; and what a run failed of."""
        if self._experiment is None:
            return
        for path, learned in words(Path(self.log_dir).parent):
            steps = int(learned.provenance.get("steps", 0))
            self.log_words(f"learned/{learned.placeholder_token}", {"file": path.name, **_told(learned)}, steps)
        if error is not None:
            self.experiment.add_text("error", said(error))
        self.experiment.close()


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their dotted names; what is neither number nor text is written out."""
    if isinstance(value, dict):
        for key in value:
            yield from _flat(value[key], f"{name}.{key}" if name else str(key))
    else:
        yield name, value if isinstance(value, str | bool | int | float) else str(value)


def _told(learned: LearnedEmbedding) -> dict[str, str]:
    """What is known of a word, as texts."""
    counts = {f"vectors ({encoder})": str(len(rows)) for encoder, rows in learned.vectors.items()}
    return {**counts, **learned.provenance}
