"""Where a model is: a folder on this machine, a folder in a package, or an id of the Hugging Face Hub."""

import re
from functools import lru_cache

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from tinv.errors import UserError
from tinv.files import PACKAGE_SCHEME, locate

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+|[\w.-]+")
_HUB_PATIENCE_S = 10


def resolve_model(pretrained: str) -> str:
    """What diffusers' `from_pretrained` should be given for `model.pretrained`: a folder, or an id that the Hub knows.

    Raises:
        UserError: a folder that is missing or is no diffusers pipeline, a text that can be neither, or an id that is
            neither in the local cache nor to be had from the Hub.
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
    return _ask_the_hub(pretrained)


def explain_failure(pretrained: str, error: Exception) -> UserError:
    """One sentence for what `from_pretrained` raised."""
    return UserError(f"model.pretrained: cannot load {pretrained} ({_first_line(error)}); is the folder complete?")


@lru_cache
def _ask_the_hub(name: str) -> str:
    """The id if the Hub answers for it, else its folder in the local cache: one short question instead of the minutes
    that the download's own retries take without a network."""
    try:
        HfApi().model_info(name, timeout=_HUB_PATIENCE_S)
    except Exception as error:  # of which kind depends on the HTTP library that the client happens to use
        try:
            return snapshot_download(name, local_files_only=True)
        except LocalEntryNotFoundError:
            raise UserError(
                f"model.pretrained: {name} is neither a folder here nor in the local Hub cache, and the Hub does not "
                f"give it ({_first_line(error)}); check the name, the network or the licence, or pass a local "
                f"diffusers folder, or model=toybox for the model that comes with tinv"
            ) from error
    return name


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
