"""Imports W&B and checks its API key without a prompt."""

from typing import Any

from tinv.errors import UserError
from tinv.optional_deps import install_hint

_OFFLINE_HINT = "or set logger.wandb.mode=offline and run `wandb sync` later"


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
    aliases = {"dryrun": "offline", "run": "online", "shared": "online"}
    mode = mode or _settings().mode
    return aliases.get(mode, mode)


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
        raise UserError(
            f"logger=wandb: there is no API key for {host}; run `wandb login` once on this machine, set the "
            f"environment variable WANDB_API_KEY, {_OFFLINE_HINT}"
        )


def connection_error(error: BaseException) -> UserError:
    """Returns the error to raise when the server does not respond or rejects the run."""
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    return UserError(
        f"logger=wandb: {_settings().base_url} does not accept the run ({reason}); try again, {_OFFLINE_HINT}"
    )
