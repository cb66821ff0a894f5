"""From a command to composed settings: the groups of conf/, and Hydra's way of joining them."""

import os
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
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

from tinv.config.problems import did_you_mean
from tinv.config.validate import CONF_DIR
from tinv.errors import UserError

CONFIG_NAME = "config"


class CompositionError(Exception):
    """Hydra could not compose; its message, in a line."""


class Groups:
    """The groups that can be chosen from: tinv's, and those in a folder of the user's."""

    def __init__(self, config_dir: str | None = None) -> None:
        """Find them.

        Args:
            config_dir: a further folder of groups (`--config-dir`); its files win over tinv's.

        Raises:
            UserError: there is no such folder.
        """
        setup_globals()
        path = create_config_search_path(str(CONF_DIR))
        if config_dir is not None:
            folder = os.path.abspath(config_dir)
            if not os.path.isdir(folder):
                raise UserError(f"--config-dir={config_dir}: there is no such folder; name the one with your groups")
            path.prepend(provider="command-line", path=f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
        self._loader = ConfigLoaderImpl(config_search_path=path)
        self._parser = OverridesParser.create(config_loader=self._loader)
        self._options: dict[str, list[str]] = {}
        self._joined: dict[tuple[RunMode, tuple[str, ...]], DictConfig] = {}

    def names(self) -> list[str]:
        """The groups themselves: `model`, `concept`, `data` ..."""
        return list(self._loader.list_groups(""))

    def options(self, group: str) -> list[str]:
        """What can be chosen in a group; nothing if it is none."""
        if group not in self._options:
            self._options[group] = sorted(self._loader.get_group_options(group, ObjectType.CONFIG))
        return self._options[group]

    def parse(self, text: str) -> Override:
        """An override as Hydra reads it.

        Raises:
            HydraException: it cannot be read.
        """
        return self._parser.parse_overrides([text])[0]

    def join(self, overrides: Sequence[str], *, multirun: bool = False) -> DictConfig:
        """The tree that a command gives, Hydra's own part under `hydra`.

        Files are read once for each choice of options; values are set on a copy. Hydra reads all of them every time,
        which is too slow for looking at many overrides or at the points of a sweep.

        Raises:
            CompositionError: an option is not there, a file is no YAML, a value has no place.
        """
        try:
            parsed = [self.parse(text) for text in overrides]
        except HydraException as error:
            raise CompositionError(_in_a_line(error)) from error
        choices = tuple(str(o.input_line) for o in parsed if self.options(o.key_or_group))
        mode = RunMode.MULTIRUN if multirun else RunMode.RUN
        if (mode, choices) not in self._joined:
            self._joined[mode, choices] = self._read(choices, mode)
        tree = deepcopy(self._joined[mode, choices])
        try:
            self._loader._apply_overrides_to_config([o for o in parsed if not self.options(o.key_or_group)], tree)
        except (HydraException, OmegaConfBaseException) as error:
            raise CompositionError(_in_a_line(error)) from error
        return tree

    def compose(
        self, overrides: Sequence[str] = (), *, output_dir: str = "outputs", multirun: bool = False
    ) -> DictConfig:
        """The settings of a run, not yet checked; `paths.output_dir` is `output_dir`.

        Raises:
            CompositionError: the overrides do not fit; `overrides.explain` says why.
        """
        tree = self.join(overrides, multirun=multirun)
        tree.hydra.runtime.output_dir = output_dir
        HydraConfig.instance().set_config(tree)
        settings: Any = OmegaConf.masked_copy(tree, [str(key) for key in tree])
        del settings["hydra"]
        return settings

    def _read(self, choices: tuple[str, ...], mode: RunMode) -> DictConfig:
        try:
            return self._loader.load_configuration(config_name=CONFIG_NAME, overrides=list(choices), run_mode=mode)
        except MissingConfigException as error:
            group, _, option = (error.missing_cfg_file or "").rpartition("/")
            hint = did_you_mean(option, error.options or [])
            raise CompositionError(f"there is no {group} {option}{hint}") from error
        except YAMLError as error:
            raise CompositionError(f"is no YAML: {' '.join(str(error).split())}") from error
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise CompositionError(_in_a_line(error)) from error


def _in_a_line(error: BaseException) -> str:
    """A library's message, without its advice and its links."""
    said = [str(e).strip() for e in (error, error.__cause__) if e is not None and str(e).strip()]
    lines = [line.strip() for line in " ".join(said).splitlines() if line.strip() and "https://" not in line]
    return " ".join(lines[:2]) or type(error).__name__
