"""What a run's folder tells of the run, in a form that others may see."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tinv import formats
from tinv.config.secrets import is_secret_override
from tinv.data.images import find_images
from tinv.data.locate import locate_folder
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.runs.layout import HYDRA_CONFIG, HYDRA_RUNTIME, RUN_CARD, list_samples
from tinv.runs.reader import RunReader

CONCEPT_IMAGES = "concept_images"
_PRIVATE = re.compile(r"[+~]*(hub|paths|hydra|logger|resume|tags)\b")
_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_WORD = re.compile(r"[^\s'\"\[\]{},]+")


@dataclass(frozen=True)
class Facts:
    """A run that has ended."""

    learned: LearnedEmbedding
    """With a base model that says nothing of this machine's folders."""
    kind: str
    card: dict[str, Any]
    """run.json."""
    settings: dict[str, Any]
    """What the sheets were drawn with: steps, guidance."""
    overrides: list[str]
    """What was typed, without what is this machine's business."""
    pictures: list[Path]
    """What it learned from."""
    sheets: list[Path]
    """The first and the last sheet of samples."""
    companions: list[str]
    """The words that were learned in the same run."""


def read_facts(run: Path, folder: Path) -> Facts:
    """What there is to tell of a concept of a run.

    Args:
        run: the run's folder.
        folder: the concept's; the run's own where it has only one.

    Raises:
        UserError: this is no run that has learned something, or its pictures are gone.
    """
    cfg = read_config(run)
    learned = formats.read(folder)
    places = {str(setting(cfg, f"{at}concept.placeholder_token")): f"{at}data" for at in concept_parts(cfg)}
    data = places.get(learned.placeholder_token, "data")  # a run may be older than its names
    reader = RunReader(run)
    here = working_dir(reader)
    sheets = list(list_samples(folder).values())
    return Facts(
        learned=LearnedEmbedding(
            learned.placeholder_token, learned.vectors, public_provenance(learned.provenance, here)
        ),
        kind=learned.provenance.get("kind", "object"),
        card=reader.card,
        settings={key: setting(cfg, f"callbacks.samples.{key}") for key in ("num_inference_steps", "guidance_scale")},
        overrides=public_overrides(reader.overrides or [], here, folder=f"{data}.folder"),
        pictures=training_pictures(cfg, here, data),
        sheets=sheets[:1] + sheets[1:][-1:],
        companions=[word for word in places if word != learned.placeholder_token],
    )


def public_provenance(told: Mapping[str, str], here: Path) -> dict[str, str]:
    """Where a word comes from, without the folders of this machine, the base model's revision on its own."""
    base = public_name(told.get("base_model", ""), here)
    match = _HUB_ID.fullmatch(base)
    base, revision = (match[1], match[2]) if match else (base, None)
    known = {"base_model": base, "base_revision": told.get("base_revision") or revision}
    return {**told, **{key: text for key, text in known.items() if text}}


def public_name(place: str, here: Path) -> str:
    """A model's name without the folders of this machine: an id of the Hub and a package's place stay as they are."""
    if "://" in place or (_HUB_ID.fullmatch(place) and not _is_here(place, here)):
        return place
    return PurePosixPath(place.replace("\\", "/")).name


def public_overrides(typed: list[str], here: Path, *, folder: str = "data.folder") -> list[str]:
    """The overrides that make the result what it is. The pictures that `folder` sets are in `concept_images` now."""
    kept = []
    for override in typed:
        name, equals, value = override.partition("=")
        if _PRIVATE.match(name) or is_secret_override(override):
            continue
        kept.append(f"{name}{equals}{CONCEPT_IMAGES if name.lstrip('+') == folder else _without_folders(value, here)}")
    return kept


def _without_folders(value: str, here: Path) -> str:
    """The text of a value, its paths reduced to their last part."""
    whole = value.strip("'\"")
    if _is_path(whole, here):
        return value.replace(whole, public_name(whole, here))
    return _WORD.sub(lambda word: public_name(word[0], here) if _is_path(word[0], here) else word[0], value)


def _is_path(text: str, here: Path) -> bool:
    """Whether a text is a place on this machine, and no id, address or fraction."""
    looks = re.match(r"[/\\~]|\.{1,2}[/\\]|[A-Za-z]:[/\\]", text) is not None
    return looks or ("/" in text and "://" not in text and _is_here(text, here))


def _is_here(text: str, here: Path) -> bool:
    try:
        return (here / Path(text).expanduser()).exists()
    except (OSError, RuntimeError, ValueError):  # no name for a file at all
        return False


def read_config(run: Path) -> DictConfig:
    """The settings of a run, as Hydra wrote them.

    Raises:
        UserError: this is no run's folder.
    """
    reader = RunReader(run)
    config, is_empty = reader.config, not reader.card
    if config is None or is_empty:
        missing = [name for name, is_missing in ((HYDRA_CONFIG, config is None), (RUN_CARD, is_empty)) if is_missing]
        reasons = ", ".join(f"{name}: {reader.problems.get(name, 'missing')}" for name in missing)
        raise UserError(f"{run} is not a readable run folder ({reasons}). Give outputs/<name>/<time>.")
    return OmegaConf.create(config)


def working_dir(reader: RunReader) -> Path:
    """Returns the folder that the run was started in.

    Raises:
        UserError: hydra.yaml is missing or damaged.
    """
    if reader.working_dir is None:
        reason = reader.problems.get(HYDRA_RUNTIME, "it names no working directory")
        raise UserError(f"{reader.folder / HYDRA_RUNTIME} cannot be read ({reason})")
    return reader.working_dir


def setting(cfg: DictConfig, key: str) -> Any:
    """A setting of a run; None if it has no such.

    Raises:
        UserError: it refers to something that is not there.
    """
    try:
        return OmegaConf.select(cfg, key)
    except OmegaConfBaseException as error:
        raise UserError(f"the run's {key} cannot be read: {str(error).splitlines()[0]}") from error


def concept_parts(cfg: DictConfig) -> list[str]:
    """What stands before the settings of each concept: nothing, or `extra_concepts.robot.`."""
    return ["", *(f"extra_concepts.{name}." for name in setting(cfg, "extra_concepts") or ())]


def training_pictures(cfg: DictConfig, here: Path, data: str = "data") -> list[Path]:
    """What a run learned from.

    Args:
        cfg: the run's settings.
        here: where it was started.
        data: the group of the pictures; other concepts of the run have their own.

    Raises:
        UserError: the pictures are gone.
    """
    recursive = bool(setting(cfg, f"{data}.recursive"))
    folder = locate_folder(str(setting(cfg, f"{data}.folder")), recursive=recursive)
    return find_images(here / folder, recursive=recursive)
