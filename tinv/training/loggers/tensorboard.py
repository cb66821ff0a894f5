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

from tinv.errors import UserError, error_message
from tinv.optional_deps import install_hint
from tinv.training.loggers.base import ExperimentLogger
from tinv.training.loggers.run_artifacts import learned_embeddings


class TensorBoardLogger(LightningTensorBoardLogger, ExperimentLogger):
    """Writes event files to `tensorboard/` of the run folder. A resumed run may log a step twice, with equal values."""

    def __init__(self, dir: Path | str):
        """Raises UserError if TensorBoard is not installed."""
        try:
            super().__init__(save_dir=dir, name="tensorboard", version="")
        except ModuleNotFoundError as error:
            hint = install_hint("tensorboard")
            raise UserError(f"logger=tensorboard needs TensorBoard, which is missing{hint}") from error

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, metrics: Any = None, step: int | None = None) -> None:
        """Logs the config as hyperparameters, next to the monitored metric, and as text."""
        from torch.utils.tensorboard.summary import hparams

        config = vars(params) if isinstance(params, Namespace) else dict(params)
        monitored = {config["monitor"]: 0.0} if config.get("monitor") else {}  # TensorBoard finds its values by name
        for summary in hparams(dict(_flatten(config)), monitored):
            self.experiment.file_writer.add_summary(summary)
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        self.experiment.add_text("config", "\n".join(f"    {line}" for line in text.splitlines()), 0)

    @rank_zero_only
    def log_image(self, name: str, image: Image.Image, step: int) -> None:
        """Logs an image."""
        self.experiment.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    @rank_zero_only
    def log_texts(self, name: str, texts: Mapping[str, str], step: int) -> None:
        """Logs a Markdown table."""
        lines = [f"| `{key}` | {text} |" for key, text in texts.items()]
        self.experiment.add_text(name, "\n".join(["| | |", "|---|---|", *lines]), step)

    @rank_zero_only
    def finish(self, error: BaseException | None, config: dict[str, Any] | None = None) -> None:
        """Logs the metadata of the embeddings, because TensorBoard stores no files, and the error of a failed run."""
        if self._experiment is None:
            return
        for path, learned in learned_embeddings(Path(self.log_dir).parent):
            counts = {f"vectors ({encoder})": str(len(vectors)) for encoder, vectors in learned.vectors.items()}
            texts = {"file": path.name, **counts, **learned.provenance}
            self.log_texts(f"learned/{learned.placeholder_token}", texts, int(learned.provenance.get("steps", 0)))
        if error is not None:
            self.experiment.add_text("error", error_message(error))
        self.experiment.close()


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the values of a config by dotted name; values that are neither numbers nor text become text."""
    if isinstance(value, dict):
        for key in value:
            yield from _flatten(value[key], f"{name}.{key}" if name else str(key))
    else:
        yield name, value if isinstance(value, str | bool | int | float) else str(value)
