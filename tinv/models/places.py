"""Where a model is: a folder on this machine, a folder in a package, or an id of the Hugging Face Hub."""

import re
from pathlib import Path

from tinv.errors import UserError
from tinv.files import PACKAGE_SCHEME, locate

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+|[\w.-]+")


def resolve_model(pretrained: str) -> str:
    """What diffusers' `from_pretrained` should be given for `model.pretrained`.

    Raises:
        UserError: a folder that is missing or is no diffusers pipeline, or a text that can be neither.
    """
    folder = locate(pretrained)
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise UserError(
                f"model.pretrained: {pretrained} is no diffusers pipeline folder (it has no model_index.json); "
                f"give the folder that save_pretrained wrote"
            )
        return str(folder)
    if folder.is_file():
        raise UserError(f"model.pretrained: {pretrained} is a file; give a diffusers pipeline folder or a Hub id")
    if pretrained.startswith((PACKAGE_SCHEME, ".", "/", "~")) or not _HUB_ID.fullmatch(pretrained):
        raise UserError(
            f"model.pretrained: there is no folder {pretrained}; give a diffusers pipeline folder or a Hub id"
        )
    return pretrained


def explain_failure(pretrained: str, error: Exception) -> UserError:
    """One sentence for what `from_pretrained` raised."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(resolve_model(pretrained)).is_dir():
        return UserError(f"model.pretrained: cannot load {pretrained} ({reason}); is the folder complete?")
    return UserError(
        f"model.pretrained: {pretrained} is neither a folder here nor in the local Hub cache, and the Hub did not give "
        f"it ({reason}); check the name, the network or the licence, or pass a local diffusers folder, or model=toybox "
        f"for the model that comes with tinv"
    )
