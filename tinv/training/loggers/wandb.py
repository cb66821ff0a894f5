"""Weights & Biases."""

import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from tinv.config.secrets import hide
from tinv.errors import UserError, error_message
from tinv.formats import LearnedEmbedding
from tinv.runs.layout import list_checkpoints
from tinv.runs.reader import RunReader
from tinv.runs.sweep_point import find_sweep_point
from tinv.training.loggers.base import ExperimentLogger
from tinv.training.loggers.run_artifacts import learned_embeddings, sample_sheets, sheet_images
from tinv.training.loggers.wandb_run import WandbRun

_MAX_NAME_LENGTH = 120
_INTERRUPTED = 255
"""W&B's exit code of a run that the user ended."""


class WandbLogger(ExperimentLogger):
    """Logs a run, its samples and its embedding as one W&B run, whose id is in the run folder.

    W&B accepts rows only in ascending order of their steps. Lightning logs the loss of a step after the callbacks have
    logged the next one, so the logger holds back two rows until they are complete. A resumed run sends the earlier rows
    that W&B lacks, from `metrics.csv` and `samples/`, and sends no row twice.
    """

    name = "wandb"

    def __init__(
        self,
        dir: Path | str,
        name: str,
        project: str = "tinv",
        entity: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: Sequence[str] = (),
        notes: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
    ):
        """Args:
            name: name of the run; a run of a sweep adds the values that were swept.
            project: W&B project.
            entity: W&B user or team; None is the default of the account.
            group: name that groups runs; None is the sweep that the run belongs to.
            notes: description of the run.
            mode: None is the environment variable WANDB_MODE, or online.

        Raises:
            UserError: W&B is not installed, has no API key, or does not accept the run.
        """
        super().__init__()
        self.run_dir, self.sweep_point = Path(dir), find_sweep_point(dir)
        if self.sweep_point:
            name, group = f"{name} {self.sweep_point.label}", group or self.sweep_point.sweep
        details: dict[str, Any] = {"name": name[:_MAX_NAME_LENGTH], "group": group}
        details |= {"job_type": job_type, "tags": list(tags), "notes": notes}
        target = {"project": project, "entity": entity}
        self.run = WandbRun(self.run_dir, mode=mode, project=target, details=details, read_rows=self._read_rows)
        if self.sweep_point and self.run.is_agent:
            raise UserError("logger=wandb: the agent of a W&B sweep starts one run at a time; omit -m")
        self._rows: dict[int, dict[str, Any]] = {}

    @property
    def version(self) -> str | None:
        """The W&B id of the run, once it has one."""
        return self.run.id

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """W&B's own `Run`."""
        return self.run.client

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Starts the W&B run with its config.

        Raises:
            UserError: W&B does not accept the run.
        """
        self.run.start(vars(params) if isinstance(params, Namespace) else dict(params))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs the metrics of a step."""
        self._add_to_row({name: value for name, value in metrics.items() if name != "epoch"}, step or 0)

    @rank_zero_only
    def log_image(self, name: str, image: Image.Image, step: int) -> None:
        """Logs an image; for a sample sheet also a table of its prompts, seeds and images."""
        sheets = (path for sheet, at, path in sample_sheets(self.run_dir) if (sheet, at) == (name, step))
        self._add_to_row(self._media(name, image, step, next(sheets, None)), step)

    @rank_zero_only
    def log_texts(self, name: str, texts: Mapping[str, str], step: int) -> None:
        """Writes the latest texts to the summary of the run."""
        self.run.call(lambda run: run.summary.update({f"{name}/{key}": text for key, text in texts.items()}))

    @rank_zero_only
    def finish(self, error: BaseException | None, config: dict[str, Any] | None = None) -> None:
        """Uploads the embeddings and finishes the run. A run of a sweep that failed before it started is started first.

        A failed run does not send incomplete rows if it has a checkpoint, because the run that resumes from it sends
        them and W&B accepts a row only once.
        """
        if self.run.id is None:
            if error is None or not (self.sweep_point or self.run.is_agent):
                return
            self.run.call(lambda run: self.run.start(config or {}))
        if error is None or not list_checkpoints(self.run_dir):
            self._send_rows(before=None)
        for path, learned in learned_embeddings(self.run_dir):
            self._log_artifact(path, learned)
        if error is not None:
            self.run.call(lambda run: run.summary.update({"error": hide(error_message(error))}))
        self.run.finish(0 if error is None else 1 if isinstance(error, Exception) else _INTERRUPTED)

    def _add_to_row(self, values: Mapping[str, Any], step: int) -> None:
        self._rows.setdefault(step, {}).update(values)
        self._send_rows(before=max(self._rows) - 1)

    def _send_rows(self, before: int | None) -> None:
        """Sends the rows before a step, or all, in ascending order."""
        for step in sorted(self._rows):
            if before is None or step < before:
                self.run.log_row(step, self._rows.pop(step))

    def _media(self, name: str, image: Image.Image | Path, step: int, sheet: Path | None) -> dict[str, Any]:
        wandb = self.run.wandb
        rows = [
            [step, prompt, seed, wandb.Image(sample, caption=f"{prompt}, seed {seed}") if sample else None]
            for prompt, seed, sample in (sheet_images(sheet) if sheet else [])
        ]
        table = {f"{name}/table": wandb.Table(["step", "prompt", "seed", "image"], rows)} if rows else {}
        return {name: wandb.Image(image, caption=f"step {step}"), **table}

    def _read_rows(self, first_step: int) -> dict[int, dict[str, Any]]:
        """Returns the rows from a step on that the run folder contains."""
        rows: dict[int, dict[str, Any]] = {}
        for step, row in RunReader(self.run_dir).metrics.items():
            if step >= first_step:
                rows[step] = {name: float(value) for name, value in row.items()}
        for name, step, path in sample_sheets(self.run_dir):
            if step >= first_step:
                rows.setdefault(step, {}).update(self._media(name, path, step, path))
        return rows

    def _log_artifact(self, path: Path, learned: LearnedEmbedding) -> None:
        """Uploads an embedding with its metadata as a new version of its artifact."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", learned.placeholder_token).strip("-.") or "embedding"
        vectors = {encoder: len(vectors) for encoder, vectors in learned.vectors.items()}
        metadata = {"placeholder_token": learned.placeholder_token, "vectors": vectors, **learned.provenance}

        def upload(run: Any) -> None:
            artifact = self.run.wandb.Artifact(f"{name}-{run.id}", type="embedding", metadata=metadata)
            artifact.add_file(str(path), name=path.name)
            run.log_artifact(artifact, aliases=["latest", f"step-{learned.provenance.get('steps', 0)}"])

        self.run.call(upload)
