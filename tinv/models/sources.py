"""What a model's settings point to, on this machine."""

from dataclasses import dataclass
from pathlib import Path

from tinv.files import locate
from tinv.models.families import Family, recognise
from tinv.models.places import resolve_model, resolve_settings


@dataclass(frozen=True)
class Source:
    """Where a model is, and what it is."""

    name: str
    """As the user wrote it."""
    family: Family
    folder: Path
    """Its configurations and tokenizers, in the layout of diffusers."""
    revision: str | None
    """The Hub's commit, if it comes from there."""


def find(pretrained: str, *, revision: str | None) -> Source:
    """Look a model up and see what it is; its weights are not fetched yet.

    Raises:
        UserError: there is no such model, it cannot be had, or it is none that can be trained.
    """
    folder = Path(resolve_settings(pretrained, revision=revision))
    commit = None if locate(pretrained).is_dir() else folder.name
    return Source(pretrained, recognise(folder, place=pretrained), folder, commit)


def weights_folder(source: Source, *, variant: str | None) -> Path:
    """The folder with a model's weights, fetched if need be.

    Raises:
        UserError: a part has none of this variant, or the Hub does not give them.
    """
    parts = tuple(source.family.modules)
    return Path(resolve_model(source.name, revision=source.revision, variant=variant, parts=parts))
