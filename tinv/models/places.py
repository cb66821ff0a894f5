"""Where a model is: a folder on this machine, a folder in a package, or an id of the Hugging Face Hub."""

import re
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

from tinv.errors import UserError
from tinv.files import PACKAGE_SCHEME, locate
from tinv.hub.pipeline import PARTS, pipeline_files, pipeline_settings
from tinv.hub.snapshot import Listing, Repo, snapshot

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+|[\w.-]+")


def resolve_settings(pretrained: str, *, revision: str | None = None) -> str:
    """The folder on this machine with a pipeline's configurations and tokenizers; the Hub is asked for no weights.

    Args:
        pretrained: a pipeline folder, `pkg://package/folder`, or an id of the Hugging Face Hub.
        revision: of an id: a commit (taken from the cache without asking the Hub), a branch or a tag.

    Raises:
        UserError: as `resolve_model`.
    """
    folder = _on_this_machine(pretrained)
    return str(folder) if folder else _settings_from_the_hub(Repo(pretrained, "model", revision))


def resolve_model(
    pretrained: str, *, revision: str | None = None, variant: str | None = None, parts: tuple[str, ...] = PARTS
) -> str:
    """The folder on this machine that `model.pretrained` means, for diffusers' `from_pretrained`.

    What the Hub has is downloaded into its cache: the files of these parts at one revision, the weights once.

    Args:
        pretrained: a pipeline folder, `pkg://package/folder`, or an id of the Hugging Face Hub.
        revision: of an id: a commit (taken from the cache without asking the Hub), a branch or a tag.
        variant: of the weights, e.g. fp16.
        parts: subfolders that are wanted now, e.g. the tokenizer alone.

    Raises:
        UserError: a folder that is missing, is no diffusers pipeline or lacks a part or the variant, a text that can be
            neither, or an id that is neither in the local cache nor to be had from the Hub.
    """
    folder = _on_this_machine(pretrained)
    if folder is None:
        choose = partial(pipeline_files, variant=variant, parts=parts)
        return _from_the_hub(Repo(pretrained, "model", revision), choose)
    files = {file.relative_to(folder).as_posix(): 0 for file in folder.rglob("*") if file.is_file()}
    try:
        pipeline_files(files, variant=variant, parts=parts)
    except UserError as error:
        raise UserError(f"model.pretrained: {pretrained} cannot be used, {error}") from error
    return str(folder)


def _on_this_machine(pretrained: str) -> Path | None:
    """The pipeline folder that is meant, or None for an id of the Hub."""
    folder = locate(pretrained)
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise UserError(
                f"model.pretrained: {pretrained} is no diffusers pipeline folder (it has no model_index.json); "
                f"give the folder that save_pretrained wrote"
            )
        return folder
    if folder.is_file():
        raise UserError(f"model.pretrained: {pretrained} is a file; give a diffusers pipeline folder or a Hub id")
    if pretrained.startswith((PACKAGE_SCHEME, ".", "/", "~")) or not _HUB_ID.fullmatch(pretrained):
        raise UserError(
            f"model.pretrained: there is no folder {pretrained}; give a diffusers pipeline folder or a Hub id"
        )
    return None


def explain_failure(pretrained: str, error: Exception) -> UserError:
    """One sentence for what `from_pretrained` raised."""
    return UserError(f"model.pretrained: cannot load {pretrained} ({_first_line(error)}); is the folder complete?")


@lru_cache
def _settings_from_the_hub(repo: Repo) -> str:
    return _from_the_hub(repo, pipeline_settings)


def _from_the_hub(repo: Repo, choose: Callable[[Listing], list[str]]) -> str:
    try:
        return str(snapshot(repo, choose).folder)
    except UserError as error:
        raise UserError(f"model.pretrained: {repo} cannot be used, {error}") from error
    except LookupError as error:
        raise UserError(
            f"model.pretrained: {repo} is neither a folder here nor in the local Hub cache, and cannot be fetched "
            f"({error.args[0]}); check the name or the network, run `tinv prefetch` with the same settings where there "
            f"is a network, or pass a local diffusers folder, or model=toybox for the model that comes with tinv"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
