"""Whether Weights & Biases would let a run in, found out without ever asking anybody."""

from typing import Any

from tinv.errors import UserError
from tinv.optional_deps import remedy

_OTHERWISE = "or set logger.wandb.mode=offline and `wandb sync` the run later"


def load_wandb() -> Any:
    """The client.

    Raises:
        UserError: it is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        way = remedy("wandb") or "; pip install wandb"
        raise UserError(f"logger=wandb needs Weights & Biases, which is missing{way}") from error
    return wandb


def settings() -> Any:
    """W&B's own, from the environment and its files; unlike `wandb.setup()` this starts no process."""
    from wandb.sdk import wandb_setup

    return wandb_setup.singleton().settings


def mode_of(chosen: str | None) -> str:
    """`online`, `offline` or `disabled`: what was chosen, else what WANDB_MODE or `wandb offline` say."""
    known = {"dryrun": "offline", "run": "online", "shared": "online"}
    mode = chosen or settings().mode
    return known.get(mode, mode)


def check_credentials() -> None:
    """Make sure that there is a key, for a client without one asks for it, and a batch job would wait for ever.

    Raises:
        UserError: there is none, or it cannot be one.
    """
    from wandb.sdk.lib import wbauth

    wandb, host = load_wandb(), settings().base_url
    try:
        found = wbauth.authenticate_session(host=host, source="tinv", prompt=False, update_session=False)
    except wandb.Error as error:
        raise UserError(f"logger=wandb: {error} Correct it, {_OTHERWISE}") from None
    if found is None:
        raise UserError(
            f"logger=wandb: there is no key for {host}; run `wandb login` once on this machine, "
            f"set the environment variable WANDB_API_KEY, {_OTHERWISE}"
        )


def unreachable(error: BaseException) -> UserError:
    """What to say where the server does not answer, or not as it should."""
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    return UserError(f"logger=wandb: {settings().base_url} does not take the run ({reason}); try again, {_OTHERWISE}")
