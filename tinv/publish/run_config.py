"""The settings of a run that has ended, with their interpolations resolved, and the images that it trained on."""

from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tinv.data.images import find_images
from tinv.data.locate import locate_folder
from tinv.errors import UserError
from tinv.runs.layout import HYDRA_CONFIG, HYDRA_RUNTIME, RUN_CARD
from tinv.runs.reader import RunReader


class RunConfig:
    """The config of a run."""

    def __init__(self, run_dir: Path):
        """Raises UserError if this is not a run folder, or if its config is damaged."""
        self.reader = RunReader(run_dir)
        contents = {HYDRA_CONFIG: self.reader.config, RUN_CARD: self.reader.card or None}
        if missing := [name for name, content in contents.items() if content is None]:
            reasons = ", ".join(f"{name}: {self.reader.problems.get(name, 'missing')}" for name in missing)
            raise UserError(f"{run_dir} is not a readable run folder ({reasons}). Give outputs/<name>/<time>.")
        self._config = OmegaConf.create(self.reader.config)

    def get(self, key: str) -> Any:
        """Returns a setting; None if the run has no such setting.

        Raises:
            UserError: it refers to a missing setting.
        """
        try:
            return OmegaConf.select(self._config, key)
        except OmegaConfBaseException as error:
            raise UserError(f"the run's {key} cannot be read: {str(error).splitlines()[0]}") from error

    @property
    def data_groups(self) -> dict[str, str]:
        """The config group of the training images of each concept, by placeholder token."""
        prefixes = ["", *(f"extra_concepts.{name}." for name in self.get("extra_concepts") or ())]
        return {str(self.get(f"{prefix}concept.placeholder_token")): f"{prefix}data" for prefix in prefixes}

    @cached_property
    def working_dir(self) -> Path:
        """The folder that the run was started in.

        Raises:
            UserError: hydra.yaml is missing or damaged.
        """
        if self.reader.working_dir is None:
            reason = self.reader.problems.get(HYDRA_RUNTIME, "it names no working directory")
            raise UserError(f"{self.reader.folder / HYDRA_RUNTIME} cannot be read ({reason}).")
        return self.reader.working_dir

    def training_images(self, data_group: str = "data") -> list[Path]:
        """Returns the images that a concept was trained on.

        Raises:
            UserError: the images are not on this machine.
        """
        recursive = bool(self.get(f"{data_group}.recursive"))
        folder = locate_folder(str(self.get(f"{data_group}.folder")), recursive=recursive)
        return find_images(self.working_dir / folder, recursive=recursive)
