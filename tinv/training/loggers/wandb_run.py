"""A run of W&B: begun once and found again, told things in the order that it wants, and replaced if it dies."""

import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tinv.errors import UserError
from tinv.runs.files import write_text
from tinv.runs.layout import WANDB_RUN_ID
from tinv.training.loggers.wandb_auth import check_credentials, load_wandb, mode_of, unreachable
from tinv.training.loggers.wandb_datastore import last_step

STEP = "trainer/global_step"
"""The number under every chart; Lightning's own logger calls it so, too."""
_AGENT, _DATA = "WANDB_SWEEP_ID", "WANDB_DATA_DIR"
_LIVES = 3
"""How many clients a run may use up."""


class WandbRun:
    """What `wandb.init` gives, with a memory in the run's folder."""

    def __init__(self, dir: Path, *, mode: str | None, home: Mapping[str, Any], about: Mapping[str, Any]):
        """Args:
            dir: the run's folder.
            mode: `online`, `offline`, `disabled`, or None for what W&B's own settings say.
            home: the project and whose it is.
            about: its name, group, tags.

        Raises:
            UserError: there is no client, or no key.
        """
        self.wandb = load_wandb()
        self.dir, self.mode = dir, mode_of(mode)
        self.home, self.about = home, about
        self.left: Callable[[int], dict[int, dict[str, Any]]] = lambda step: {}
        """Gives the rows from a step on that the run has had before; the board knows where they are."""
        self._settings: dict[str, Any] = {}
        self._run: Any = None
        self._lives = _LIVES
        self._next, self._reached = 0, -1
        self._missing: dict[int, dict[str, Any]] = {}
        self._keeps_data = self.mode == "offline" and _DATA not in os.environ
        if self.mode == "online":
            check_credentials()

    @property
    def is_agent(self) -> bool:
        """Whether the agent of a W&B sweep started this process; the run is then the agent's."""
        return _AGENT in os.environ

    @property
    def id(self) -> str | None:
        """The run's id, once it has begun."""
        return self._run.id if self._run is not None else None

    @property
    def run(self) -> Any:
        """W&B's own object; begun if it is not."""
        if self._run is None:
            self._begin()
        return self._run

    def begin(self, settings: dict[str, Any]) -> None:
        """Begin, or change the settings of what has begun.

        Raises:
            UserError: W&B does not let us.
        """
        try:
            config = self.run.config
        except UserError:
            self._lives = 0  # it has been waited for once
            raise
        chosen = set(config.keys()) if self.is_agent else set()  # the agent's own, which nobody may change
        self._settings = {key: value for key, value in settings.items() if key not in chosen}
        config.update(self._settings, allow_val_change=True)

    def send(self, step: int, row: Mapping[str, Any]) -> None:
        """Send a row, and before the first one all that the run's folder has of the time before it."""

        def say(run: Any) -> None:
            rows = {at: old for at, old in self._missing.items() if at <= step}
            self._log(run, {**rows, step: {**rows.get(step, {}), **row}})

        self._reached = max(self._reached, step)
        self.tell(say)

    def tell(self, say: Callable[[Any], None]) -> None:
        """Say something to the run. A training does not fail because somebody who looks on has gone."""
        while self._lives:
            try:
                say(self.run)
                return
            except (OSError, UserError, self.wandb.Error) as error:
                self._bury(error)

    def finish(self, exit_code: int) -> None:
        """The end; a code other than 0 marks the run as failed."""

        def say(run: Any) -> None:
            self._log(run, {at: old for at, old in self._missing.items() if at <= self._reached})
            run.finish(exit_code=exit_code)

        self.tell(say)
        self._leave()

    def _log(self, run: Any, rows: Mapping[int, Mapping[str, Any]]) -> None:
        """Send what the run has not got of some rows, in their order; what is missing before them is then not sent."""
        for at in sorted(rows):
            if at >= self._next:
                run.log({STEP: at}, step=at)  # first, for pictures get the names of the step that the run is at
                run.log(rows[at], step=at)
                self._next = at + 1
        self._missing = {}

    def _begin(self) -> None:
        own = {} if self.is_agent else {**self.home, "id": self._own_id()}
        self.dir.mkdir(parents=True, exist_ok=True)
        try:
            self._run = self.wandb.init(
                **own,
                **self.about,
                dir=str(self.dir),
                mode=self.mode,
                resume="allow",
                reinit="finish_previous",
                save_code=False,
                config=self._settings,
                allow_val_change=True,
            )
        except (self.wandb.Error, OSError) as error:
            raise unreachable(error) from error
        self._run.define_metric(STEP, hidden=True)
        self._run.define_metric("*", step_metric=STEP, step_sync=True)
        has = last_step(self.dir, self._run.id) + 1 if self.mode == "offline" else 0
        self._next = max(has, self._run.step)
        self._missing = self.left(self._next)
        if self._keeps_data:  # what is to be sent later stays with the run, not in somebody's home
            os.environ[_DATA] = str((self.dir / "wandb" / "data").absolute())

    def _own_id(self) -> str | None:
        """The same for as long as the run's folder is there."""
        if self.mode == "disabled":
            return None
        from wandb.sdk.lib.runid import generate_id

        file = self.dir / WANDB_RUN_ID
        if not file.is_file():
            write_text(file, generate_id())
        return file.read_text(encoding="utf-8").strip()

    def _bury(self, error: BaseException) -> None:
        """Take the client for dead, as after a signal to all processes of a job, and make room for another one."""
        from wandb.sdk.lib import module

        self._lives -= 1
        what = "it is begun again" if self._lives else "the run goes on without; metrics.csv has all numbers"
        warnings.warn(f"Weights & Biases stopped answering ({error}): {what}", stacklevel=2)
        self._leave()
        with suppress(Exception):
            self.wandb.teardown()
        module.unset_globals()

    def _leave(self) -> None:
        self._run = None
        if self._keeps_data:
            os.environ.pop(_DATA, None)
