"""What is published about a run: without this machine's folders, and without private settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from tinv import formats
from tinv.config.secrets import is_secret_override
from tinv.formats import LearnedEmbedding
from tinv.publish.run_config import RunConfig
from tinv.runs.layout import list_samples
from tinv.runs.reader import RunReader

CONCEPT_IMAGES = "concept_images"
_PRIVATE = re.compile(r"[+~]*(hub|paths|hydra|logger|resume|tags)\b")
_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_UNQUOTED = re.compile(r"[^\s'\"\[\]{},]+")


@dataclass(frozen=True)
class RunFacts:
    """The facts about a concept of a run that has ended."""

    learned: LearnedEmbedding
    """Its provenance names no folder of this machine."""
    kind: str
    run: RunReader
    sampling: dict[str, Any]
    """The sampling settings of the samples."""
    overrides: list[str]
    """The command line, without private settings."""
    images: list[Path]
    """The training images."""
    samples: list[Path]
    """The first and the last sheet of samples."""
    other_tokens: list[str]
    """The placeholder tokens of the run's other concepts."""


def read_facts(run_dir: Path, concept_folder: Path) -> RunFacts:
    """Reads the facts about a concept; its folder is the run folder if the run has only one.

    Raises:
        UserError: the run has no embedding, or its training images are missing.
    """
    config = RunConfig(run_dir)
    learned = formats.read(concept_folder)
    data_groups, working_dir = config.data_groups, config.working_dir
    data_group = data_groups.get(learned.placeholder_token, "data")
    samples = list(list_samples(concept_folder).values())
    sampling = ("num_inference_steps", "guidance_scale")
    return RunFacts(
        learned=replace(learned, provenance=public_provenance(learned.provenance, working_dir)),
        kind=learned.provenance.get("kind", "object"),
        run=config.reader,
        sampling={key: config.get(f"callbacks.samples.{key}") for key in sampling},
        overrides=public_overrides(config.reader.overrides or [], working_dir, image_folder=f"{data_group}.folder"),
        images=config.training_images(data_group),
        samples=samples[:1] + samples[1:][-1:],
        other_tokens=[token for token in data_groups if token != learned.placeholder_token],
    )


def public_provenance(provenance: Mapping[str, str], working_dir: Path) -> dict[str, str]:
    """Returns the provenance without this machine's folders, and with the base model's revision as its own entry."""
    base = public_name(provenance.get("base_model", ""), working_dir)
    match = _HUB_ID.fullmatch(base)
    base, revision = match.groups() if match else (base, None)
    model = {"base_model": base, "base_revision": provenance.get("base_revision") or revision}
    return {**provenance, **{key: text for key, text in model.items() if text}}


def public_name(model: str, working_dir: Path) -> str:
    """Returns a Hub id or a package path unchanged, and of any other path its last part."""
    if "://" in model or (_HUB_ID.fullmatch(model) and not _exists(model, working_dir)):
        return model
    return PurePosixPath(model.replace("\\", "/")).name


def public_overrides(overrides: list[str], working_dir: Path, *, image_folder: str = "data.folder") -> list[str]:
    """Returns the overrides that affect the result; the folder of the training images becomes `concept_images`."""
    public = []
    for override in overrides:
        name, equals, value = override.partition("=")
        if not _PRIVATE.match(name) and not is_secret_override(override):
            is_folder = name.lstrip("+") == image_folder
            public.append(f"{name}{equals}{CONCEPT_IMAGES if is_folder else _shorten_paths(value, working_dir)}")
    return public


def _shorten_paths(value: str, working_dir: Path) -> str:
    """Reduces each path in a value to its last part."""
    text = value.strip("'\"")
    if _is_path(text, working_dir):
        return value.replace(text, public_name(text, working_dir))
    return _UNQUOTED.sub(
        lambda match: public_name(match[0], working_dir) if _is_path(match[0], working_dir) else match[0], value
    )


def _is_path(text: str, working_dir: Path) -> bool:
    """Whether a text is a path on this machine, not a Hub id, a URL or a fraction."""
    is_explicit = re.match(r"[/\\~]|\.{1,2}[/\\]|[A-Za-z]:[/\\]", text) is not None
    return is_explicit or ("/" in text and "://" not in text and _exists(text, working_dir))


def _exists(text: str, working_dir: Path) -> bool:
    try:
        return (working_dir / Path(text).expanduser()).exists()
    except (OSError, RuntimeError, ValueError):  # not a valid file name
        return False
