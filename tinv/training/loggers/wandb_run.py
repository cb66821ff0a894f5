"""A W&B run that survives a resume and the end of W&B's own process, and the check of its API key."""

import os
import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tinv.errors import UserError
from tinv.optional_deps import install_hint
from tinv.runs.files import write_text
from tinv.runs.lane import current_lane
from tinv.runs.layout import WANDB_RUN_ID
from tinv.training.loggers.wandb_datastore import last_step

STEP = "trainer/global_step"
"""The metric on the x-axis of every chart, under the name that Lightning's own logger uses."""
_SWEEP_ID, _DATA_DIR = "WANDB_SWEEP_ID", "WANDB_DATA_DIR"
_MAX_CLIENTS = 3
"""Number of clients that a run starts before it continues without W&B."""
_OFFLINE_HINT = "or set logger.wandb.mode=offline and run `wandb sync` later"


class WandbRun:
    """Wraps the object of `wandb.init`: keeps its id in the run folder, orders its rows and restarts a dead client."""

    def __init__(
        self,
        dir: Path,
        *,
        mode: str | None,
        project: Mapping[str, Any],
        details: Mapping[str, Any],
        read_rows: Callable[[int], dict[int, dict[str, Any]]] = lambda step: {},
    ):
        """Args:
            mode: `online`, `offline`, `disabled`, or None for the mode of W&B's own settings.
            project: `project` and `entity` for `wandb.init`; ignored under a W&B sweep, which sets them.
            details: further arguments of `wandb.init`, such as name, group and tags.
            read_rows: returns the rows from a step on that the run has logged before.

        Raises:
            UserError: W&B is not installed, or has no API key.
        """
        self.wandb = import_wandb()
        self.dir, self.mode = dir, resolve_mode(mode)
        self.project, self.details, self.read_rows = project, details, read_rows
        self._config: dict[str, Any] = {}
        self._client: Any = None
        self._clients_left, self._next_step, self._last_step = _MAX_CLIENTS, 0, -1
        self._missing_rows: dict[int, dict[str, Any]] = {}
        self._owns_data_dir = self.mode == "offline" and _DATA_DIR not in os.environ
        if self.mode == "online":
            check_credentials()

    @property
    def is_agent(self) -> bool:
        """Whether the agent of a W&B sweep started this process; the sweep then sets project, id and config."""
        return _SWEEP_ID in os.environ

    @property
    def id(self) -> str | None:
        """The id of the run, once it has started."""
        return self._client.id if self._client is not None else None

    @property
    def client(self) -> Any:
        """W&B's own `Run`; started if it is not."""
        if self._client is None:
            self._init_client()
        return self._client

    def start(self, config: dict[str, Any]) -> None:
        """Starts the run, or updates the config of a started run.

        Raises:
            UserError: W&B does not accept the run.
        """
        try:
            client_config = self.client.config
        except UserError:
            self._clients_left = 0  # do not wait for a second timeout
            raise
        fixed = set(client_config.keys()) if self.is_agent else set()  # values of the W&B sweep cannot be changed
        self._config = {key: value for key, value in config.items() if key not in fixed}
        client_config.update(self._config, allow_val_change=True)

    def log_row(self, step: int, row: Mapping[str, Any]) -> None:
        """Sends a row, and before the first one all earlier rows that W&B lacks."""

        def send(client: Any) -> None:
            rows = {at: earlier for at, earlier in self._missing_rows.items() if at <= step}
            self._log(client, {**rows, step: {**rows.get(step, {}), **row}})

        self._last_step = max(self._last_step, step)
        self.call(send)

    def call(self, function: Callable[[Any], None]) -> None:
        """Calls a function with W&B's `Run`, with a new client if W&B fails; the training never fails with it."""
        while self._clients_left:
            try:
                function(self.client)
                return
            except (OSError, UserError, self.wandb.Error) as error:
                self._discard_client(error)

    def finish(self, exit_code: int) -> None:
        """Ends the run; an exit code other than 0 marks it as failed."""

        def send(client: Any) -> None:
            self._log(client, {at: row for at, row in self._missing_rows.items() if at <= self._last_step})
            client.finish(exit_code=exit_code)

        self.call(send)
        self._release_client()

    def _log(self, client: Any, rows: Mapping[int, Mapping[str, Any]]) -> None:
        """Sends those of the rows that W&B lacks in ascending order; earlier rows can then no longer be sent."""
        for step in sorted(rows):
            if step >= self._next_step:
                client.log({STEP: step}, step=step)  # first, because media files are named after the client's step
                client.log(rows[step], step=step)
                self._next_step = step + 1
        self._missing_rows = {}

    def _init_client(self) -> None:
        target = {} if self.is_agent else {**self.project, "id": self._stored_id()}
        self.dir.mkdir(parents=True, exist_ok=True)
        try:
            self._client = self.wandb.init(
                **target,
                **self.details,
                dir=str(self.dir),
                mode=self.mode,
                resume="allow",
                reinit="create_new" if current_lane() else "finish_previous",
                save_code=False,
                config=self._config,
                allow_val_change=True,
            )
        except (self.wandb.Error, OSError) as error:
            raise connection_error(error) from error
        self._client.define_metric(STEP, hidden=True)
        self._client.define_metric("*", step_metric=STEP, step_sync=True)
        written = last_step(self.dir, self._client.id) + 1 if self.mode == "offline" else 0
        self._next_step = max(written, self._client.step)
        self._missing_rows = self.read_rows(self._next_step)
        if self._owns_data_dir:  # files to sync later stay in the run folder, not in the home directory
            os.environ[_DATA_DIR] = str((self.dir / "wandb" / "data").absolute())

    def _stored_id(self) -> str | None:
        """Returns the id in the run folder; creates one if there is none or it is damaged."""
        if self.mode == "disabled":
            return None
        from wandb.sdk.lib.runid import generate_id

        file = self.dir / WANDB_RUN_ID
        run_id = file.read_bytes().decode("utf-8", "replace").strip() if file.is_file() else None
        if run_id is None or not re.fullmatch(r"[\w-]{1,128}", run_id, re.ASCII):
            if run_id is not None:
                warnings.warn(f"{file} is damaged. A new W&B run starts.", stacklevel=2)
            write_text(file, run_id := generate_id())
        return run_id

    def _discard_client(self, error: BaseException) -> None:
        """Discards a client that has failed, for example after a signal to all processes of a job."""
        from wandb.sdk.lib import module

        self._clients_left -= 1
        outcome = "restarting it" if self._clients_left else "the run continues without it; metrics.csv has all metrics"
        warnings.warn(f"Weights & Biases stopped responding ({error}): {outcome}", stacklevel=2)
        self._release_client()
        with suppress(Exception):
            self.wandb.teardown()
        module.unset_globals()

    def _release_client(self) -> None:
        self._client = None
        if self._owns_data_dir:
            os.environ.pop(_DATA_DIR, None)


def update_summary(run_dir: Path, metrics: Mapping[str, float], *, config: Mapping[str, Any]) -> None:
    """Adds metrics that are measured after the end of a run, such as `evaluation/clip_i`, to its W&B summary.

    Args:
        config: `project`, `entity` and `mode` of the run's logger.

    Raises:
        UserError: W&B is not installed, has no API key, or does not respond.
    """
    project = {"project": config.get("project") or "tinv", "entity": config.get("entity")}
    run = WandbRun(run_dir, mode=config.get("mode"), project=project, details={})
    run.client.summary.update(dict(metrics))
    run.finish(0)


def import_wandb() -> Any:
    """Returns the module `wandb`.

    Raises:
        UserError: it is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        install = install_hint("wandb") or "; pip install wandb"
        raise UserError(f"logger=wandb needs Weights & Biases, which is missing{install}") from error
    return wandb


def _settings() -> Any:
    """Returns W&B's settings from the environment and its files; unlike `wandb.setup()` this starts no process."""
    from wandb.sdk import wandb_setup

    return wandb_setup.singleton().settings


def resolve_mode(mode: str | None) -> str:
    """Returns `online`, `offline` or `disabled`: the given mode, else that of WANDB_MODE or `wandb offline`."""
    mode = mode or _settings().mode
    return {"dryrun": "offline", "run": "online", "shared": "online"}.get(mode, mode)


def check_credentials() -> None:
    """Checks that there is an API key, because the client would otherwise prompt for one and a batch job would hang.

    Raises:
        UserError: there is no key, or it is malformed.
    """
    from wandb.sdk.lib import wbauth

    wandb, host = import_wandb(), _settings().base_url
    try:
        auth = wbauth.authenticate_session(host=host, source="tinv", prompt=False, update_session=False)
    except wandb.Error as error:
        raise UserError(f"logger=wandb: {error} Correct it, {_OFFLINE_HINT}") from None
    if auth is None:
        remedy = f"Run `wandb login` once on this machine, set the environment variable WANDB_API_KEY, {_OFFLINE_HINT}"
        raise UserError(f"logger=wandb: there is no API key of Weights & Biases. {remedy}. The server is {host}.")


def connection_error(error: BaseException) -> UserError:
    """Returns the error to raise when the server does not respond or rejects the run."""
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    host = _settings().base_url
    return UserError(f"logger=wandb: {host} does not accept the run ({reason}); try again, {_OFFLINE_HINT}")
