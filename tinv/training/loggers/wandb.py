"""Weights & Biases."""

import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.runs.layout import list_checkpoints
from tinv.runs.reader import RunReader
from tinv.runs.sweep_point import find_sweep_point
from tinv.training.loggers.base import ExperimentLogger, said
from tinv.training.loggers.run_artifacts import pictures, sheets, words
from tinv.training.loggers.wandb_run import WandbRun

_LONGEST_NAME = 120
_STOPPED = 255
"""The exit code of a run that somebody ended, as W&B has it."""


class WandbLogger(ExperimentLogger):
    """One run of W&B for a run, whatever becomes of it: its id stays in the run's folder.

    W&B counts rows unless it is told the steps, and then takes them in rising order only. Two rows are therefore held
    back until nothing can come before them: Lightning logs a step's loss after its callbacks have logged what came of
    it. A run that goes on sends what W&B has not got of the time before, from `metrics.csv` and `samples/`, and
    nothing twice.
    """

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
            dir: the run's folder.
            name: what the run is called; a point of a sweep adds what was swept.
            project: where it is kept.
            entity: whose project; None is the account's own.
            group: whose runs belong together; None is the sweep that the run is a point of.
            job_type: a word for what kind of run it is.
            tags: for finding it.
            notes: a text about it.
            mode: None is WANDB_MODE, or online.

        Raises:
            UserError: W&B could not begin a run.
        """
        super().__init__()
        self.dir, self.place = Path(dir), find_sweep_point(dir)
        label = f"{name} {self.place.label}" if self.place else name
        about = {"name": label[:_LONGEST_NAME], "job_type": job_type, "tags": list(tags), "notes": notes}
        about["group"] = group or (self.place.sweep if self.place else None)
        self.link = WandbRun(self.dir, mode=mode, home={"project": project, "entity": entity}, about=about)
        if self.place and self.link.is_agent:
            raise UserError("logger=wandb: the agent of a W&B sweep starts one run at a time; leave out -m")
        self.link.left = self._left
        self._rows: dict[int, dict[str, Any]] = {}

    @property
    def name(self) -> str:
        """Lightning asks for it."""
        return "wandb"

    @property
    def version(self) -> str | None:
        """The run's id at W&B, once it has one."""
        return self.link.id

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """W&B's own `Run`."""
        return self.link.run

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Begin, with the settings.

        Raises:
            UserError: W&B does not let us.
        """
        self.link.begin(vars(params) if isinstance(params, Namespace) else dict(params))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Numbers of a step."""
        self._hold({name: value for name, value in metrics.items() if name != "epoch"}, step or 0)

    @rank_zero_only
    def log_picture(self, name: str, picture: Image.Image, step: int) -> None:
        """The picture, and if it is a sheet of samples a table of those on it: step, prompt, seed, picture."""
        found = next((path for series, at, path in sheets(self.dir) if (series, at) == (name, step)), None)
        self._hold(self._shown(name, picture, step, found), step)

    @rank_zero_only
    def log_words(self, name: str, rows: Mapping[str, str], step: int) -> None:
        """Their latest state, in the run's summary."""
        self.link.tell(lambda run: run.summary.update({f"{name}/{word}": text for word, text in rows.items()}))

    @rank_zero_only
    def end(self, error: BaseException | None, settings: dict[str, Any] | None = None) -> None:
        """Finish the run, with what it has learned. A point of a sweep has one even if it failed before it began.

        Rows that a failure cut short are left to the run that goes on from the last checkpoint: W&B takes a row once.
        """
        if self.link.id is None:
            if error is None or not (self.place or self.link.is_agent):
                return
            self.link.tell(lambda run: self.link.begin(settings or {}))
        if error is None or not list_checkpoints(self.dir):
            self._send(behind=None)
        for path, learned in words(self.dir):
            self._keep(path, learned)
        if error is not None:
            self.link.tell(lambda run: run.summary.update({"error": said(error)}))
        self.link.finish(0 if error is None else 1 if isinstance(error, Exception) else _STOPPED)

    def _hold(self, row: Mapping[str, Any], step: int) -> None:
        """Keep a part of a row until the row is whole."""
        self._rows.setdefault(step, {}).update(row)
        self._send(behind=max(self._rows) - 1)

    def _send(self, behind: int | None) -> None:
        """Send the rows before a step, or all, in their order."""
        for step in sorted(self._rows):
            if behind is None or step < behind:
                self.link.send(step, self._rows.pop(step))

    def _shown(self, name: str, picture: Image.Image | Path, step: int, sheet: Path | None) -> dict[str, Any]:
        wandb = self.link.wandb
        on_it = pictures(sheet) if sheet else []
        rows = [
            [step, prompt, seed, wandb.Image(one, caption=f"{prompt}, seed {seed}") if one else None]
            for prompt, seed, one in on_it
        ]
        table = {f"{name}/table": wandb.Table(["step", "prompt", "seed", "picture"], rows)} if rows else {}
        return {name: wandb.Image(picture, caption=f"step {step}"), **table}

    def _left(self, step: int) -> dict[int, dict[str, Any]]:
        """The rows from a step on that the run's folder has."""
        found: dict[int, dict[str, Any]] = {}
        for at, row in RunReader(self.dir).metrics.items():
            if at >= step:
                found[at] = {name: float(value) for name, value in row.items()}
        for series, at, path in sheets(self.dir):
            if at >= step:
                found.setdefault(at, {}).update(self._shown(series, path, at, path))
        return found

    def _keep(self, path: Path, learned: LearnedEmbedding) -> None:
        """A version of the word's artifact, with everything that is known of it."""
        word = re.sub(r"[^A-Za-z0-9._-]+", "-", learned.placeholder_token).strip("-.") or "word"
        vectors = {encoder: len(rows) for encoder, rows in learned.vectors.items()}
        metadata = {"placeholder_token": learned.placeholder_token, "vectors": vectors, **learned.provenance}

        def say(run: Any) -> None:
            artifact = self.link.wandb.Artifact(f"{word}-{run.id}", type="embedding", metadata=metadata)
            artifact.add_file(str(path), name=path.name)
            run.log_artifact(artifact, aliases=["latest", f"step-{learned.provenance.get('steps', 0)}"])

        self.link.tell(say)
