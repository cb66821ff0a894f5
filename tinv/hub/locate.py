"""Where a model, a component or a feature extractor is: on this machine, in a package, or on the Hugging Face Hub."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from tinv.errors import UserError
from tinv.hub.pipeline_files import FLAX_REMEDY, select_config_files
from tinv.hub.snapshot import Listing, Repo, Snapshot, get_snapshot, network_remedy
from tinv.runs.files import PACKAGE_SCHEME, resolve_path

_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+|[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_EXTRACTOR_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_EXTRACTOR_FILES = """config.json preprocessor_config.json tokenizer.json tokenizer_config.json
    special_tokens_map.json vocab.json merges.txt""".split()


@dataclass(frozen=True)
class FeatureExtractorFiles:
    """The files of a feature extractor on this machine."""

    folder: Path
    name: str
    """As the user wrote it, without a revision."""
    revision: str | None = None
    """The commit, if it came from the Hub."""


def locate(text: str, *, setting: str, revision: str | None = None) -> Path | Repo:
    """The folder or file on this machine, or the repository of the Hub, that a setting names.

    Args:
        text: a path, `pkg://package/folder`, or an id of the Hub, also as `id@revision`.
        setting: name of the setting, for messages.
        revision: of an id that names none.

    Raises:
        UserError: there is no such path, and the text is not a valid id.
    """
    path = resolve_path(text)
    if path.exists():
        return path
    match = _HUB_ID.fullmatch(text)
    if match is None or text.startswith((PACKAGE_SCHEME, ".", "/", "~")):
        raise UserError(f"{setting}={text}: there is no such folder or file. Give a path that exists, or a Hub id.")
    return Repo(match["id"], "model", match["revision"] or revision)


def config_folder(location: Path | Repo, *, setting: str) -> Path:
    """The folder with a pipeline's configurations and tokenizers; no weights are downloaded.

    Raises:
        UserError: this is no pipeline, or it cannot be downloaded.
    """
    if isinstance(location, Repo):
        return _configs_of(location, setting=setting)
    if not (location / "model_index.json").is_file():
        if flax := next(location.rglob("*flax*.msgpack"), None):
            raise UserError(f"{setting}={location}: {FLAX_REMEDY.format(flax.relative_to(location))}")
        raise UserError(
            f"{setting}={location}: this is no diffusers pipeline folder (it has no model_index.json). "
            f"Give the folder that save_pretrained wrote, or the model's single .safetensors or .ckpt file."
        )
    return location


def fetch(repo: Repo, choose: Callable[[Listing], list[str]], *, setting: str) -> Path:
    """The folder in the Hub's cache with the chosen files of a model, downloaded if need be.

    Raises:
        UserError: the files cannot be downloaded, or are not what they should be.
    """
    return _fetch(repo, choose, setting=setting, default="set model=toybox, the model that comes with tinv").folder


def locate_feature_extractor(text: str) -> FeatureExtractorFiles:
    """The files of a feature extractor, which `text` names as `locate` takes it; downloaded if need be.

    Raises:
        UserError: there is none, or it cannot be downloaded.
    """
    location = locate(text, setting="feature_extractors")
    if isinstance(location, Path):
        return FeatureExtractorFiles(location, text)
    default = "use --feature-extractors toybox, which comes with tinv"
    result = _fetch(location, _extractor_files, setting="feature_extractors", default=default)
    return FeatureExtractorFiles(result.folder, location.id, result.commit)


def _fetch(repo: Repo, choose: Callable[[Listing], list[str]], *, setting: str, default: str) -> Snapshot:
    try:
        return get_snapshot(repo, choose)
    except UserError as error:
        raise UserError(f"{setting}={repo}: cannot be used, {error}") from error
    except LookupError as error:
        raise UserError(
            f"{setting}={repo}: neither a folder here nor in the local Hub cache, and it cannot be downloaded "
            f"({error.args[0]}). {network_remedy()}give a local folder, or {default}."
        ) from error


def _extractor_files(listing: Listing) -> list[str]:
    weights = next((name for name in _EXTRACTOR_WEIGHTS if name in listing), None)
    if weights is None or "config.json" not in listing:
        raise UserError(f"it has no {' or '.join(_EXTRACTOR_WEIGHTS)} with a config.json")
    return [weights, *(name for name in _EXTRACTOR_FILES if name in listing)]


_configs_of = lru_cache(partial(fetch, choose=select_config_files))
