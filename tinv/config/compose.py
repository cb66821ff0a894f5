"""Composes settings: finds the groups of conf/ and merges the chosen options as Hydra does."""

import os
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tinv.config import secrets
from tinv.config.restricted_settings import CheckedConfigLoader
from tinv.config.validate import CONF_DIR, ConfigError
from tinv.errors import UserError, did_you_mean

CONFIG_NAME = "config"


class CompositionError(Exception):
    """Hydra cannot compose; the message has one line."""


class Groups:
    """The config groups: those of tinv and those in a folder of the user."""

    def __init__(self, config_dir: str | None = None) -> None:
        """Finds the groups.

        Args:
            config_dir: a further folder of groups (`--config-dir`); where both have a file, tinv's is used.

        Raises:
            UserError: the folder does not exist, or its path contains a secret.
        """
        setup_globals()
        path = create_config_search_path(str(CONF_DIR))
        if config_dir is not None:
            if reason := secrets.find_reason(config_dir):
                raise UserError(f"--config-dir: {reason}. {secrets.REMEDY}")
            folder = os.path.abspath(config_dir)
            if not os.path.isdir(folder):
                raise UserError(
                    f"--config-dir={config_dir}: there is no such folder. Give the folder with your groups."
                )
            path.prepend(provider="command-line", path=f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
        self.loader = CheckedConfigLoader(config_search_path=path)
        self._parser = OverridesParser.create(config_loader=self.loader)
        self._options: dict[str, list[str]] = {}
        self._trees: dict[tuple[bool, tuple[str, ...]], DictConfig | CompositionError] = {}

    def names(self) -> list[str]:
        """Returns the names of the groups: `model`, `concept`, `data` ..."""
        return list(self.loader.list_groups(""))

    def options(self, group: str) -> list[str]:
        """Returns the options of a group, or an empty list if there is no such group."""
        if group not in self._options:
            self._options[group] = sorted(self.loader.get_group_options(group, ObjectType.CONFIG))
        return self._options[group]

    def parse(self, text: str) -> Override:
        """Parses an override.

        Raises:
            HydraException: the syntax is wrong.
        """
        return self._parser.parse_overrides([text])[0]

    def load(self, overrides: Sequence[str], *, multirun: bool = False) -> DictConfig:
        """Returns the tree that Hydra composes for a command, including its record of the command under `hydra`.

        The result is cached: Hydra needs 0.2 s to read and merge all files.

        Raises:
            CompositionError: an option does not exist, a file is not YAML, or a value has no place.
            ConfigError: a file sets what only the user may set.
        """
        key = multirun, tuple(overrides)
        if key not in self._trees:
            try:
                self._trees[key] = self._load(*key)
            except CompositionError as error:
                self._trees[key] = error
        tree = self._trees[key]
        if isinstance(tree, CompositionError):
            raise tree
        return deepcopy(tree)

    def join(self, overrides: Sequence[str], *, multirun: bool = False) -> DictConfig:
        """Returns the same settings as `load`, without Hydra's record of the command.

        Loads the files once for each combination of options and sets the values on a copy, which makes it fast to
        compose many commands.

        Raises:
            CompositionError: as for `load`.
        """
        if (multirun, tuple(overrides)) in self._trees:
            return self.load(overrides, multirun=multirun)
        try:
            parsed = [self.parse(text) for text in overrides]
        except HydraException as error:
            raise CompositionError(_first_lines(error)) from error
        choices = [str(override.input_line) for override in parsed if self.options(override.key_or_group)]
        tree = self.load(choices, multirun=multirun)
        try:
            self.loader._apply_overrides_to_config([o for o in parsed if not self.options(o.key_or_group)], tree)
        except (HydraException, OmegaConfBaseException) as error:
            raise CompositionError(_first_lines(error)) from error
        return tree

    def compose(
        self, overrides: Sequence[str] = (), *, output_dir: str = "outputs", multirun: bool = False
    ) -> DictConfig:
        """Returns the settings of a run, without Hydra's own, not yet checked; `paths.output_dir` is `output_dir`.

        Raises:
            CompositionError: the overrides do not fit; `override_errors.explain` says why.
        """
        tree = self.join(overrides, multirun=multirun)
        tree.hydra.runtime.output_dir = output_dir
        HydraConfig.instance().set_config(tree)
        settings: Any = OmegaConf.masked_copy(tree, [str(key) for key in tree])
        del settings["hydra"]
        return settings

    def _load(self, multirun: bool, overrides: tuple[str, ...]) -> DictConfig:
        mode = RunMode.MULTIRUN if multirun else RunMode.RUN
        try:
            return self.loader.load_configuration(CONFIG_NAME, list(overrides), mode)
        except MissingConfigException as error:
            group, _, option = (error.missing_cfg_file or "").rpartition("/")
            hint = did_you_mean(option, error.options or [])
            raise CompositionError(f"there is no {group} {option}{hint}") from error
        except ConfigError:
            raise
        except YAMLError as error:
            raise CompositionError(f"not valid YAML: {' '.join(str(error).split())}") from error
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise CompositionError(_first_lines(error)) from error


def _first_lines(error: BaseException) -> str:
    """Returns a library's message in one line, without advice and links."""
    messages = [str(e).strip() for e in (error, error.__cause__) if e is not None and str(e).strip()]
    lines = [line.strip() for line in " ".join(messages).splitlines() if line.strip() and "https://" not in line]
    return " ".join(lines[:2]) or type(error).__name__
