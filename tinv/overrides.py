"""From what was typed to composed settings, or to everything that is wrong with what was typed.

Hydra stops at the first override that does not fit, and its message is about Hydra. When composing fails, this looks at
the overrides one by one: first those that choose from a group, then, on the tree that the good choices give, the rest.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
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

from tinv.config import CONF_DIR, Problem, did_you_mean, find_problems
from tinv.errors import UserError
from tinv.signature import signature

CONFIG_NAME = "config"
MOST_POINTS = 64
"""How many points of a sweep are looked at before the first one runs."""


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
                raise UserError(
                    f"--config-dir={config_dir}: there is no such folder; name the one that holds your groups"
                )
            path.prepend(provider="command-line", path=f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
        self._loader = ConfigLoaderImpl(config_search_path=path)
        self._parser = OverridesParser.create(config_loader=self._loader)

    def compose(
        self, overrides: Sequence[str] = (), *, output_dir: str = "outputs", multirun: bool = False
    ) -> DictConfig:
        """The settings of a run, not yet checked; `paths.run` is `output_dir`.

        Raises:
            CompositionError: the overrides do not fit; `explain` says why.
        """
        cfg = self._load(overrides, multirun=multirun)
        cfg.hydra.runtime.output_dir = output_dir
        HydraConfig.instance().set_config(cfg)
        del (job := OmegaConf.masked_copy(cfg, [str(key) for key in cfg]))["hydra"]
        return job

    def options(self, group: str) -> list[str]:
        """What can be chosen in a group, such as `experiment`."""
        return sorted(self._loader.get_group_options(group, ObjectType.CONFIG))

    def find_problems(self, overrides: Sequence[str], *, multirun: bool = False) -> list[Problem]:
        """Everything that is wrong with a command, for every point if it is a sweep."""
        found: dict[Problem, None] = {}
        for point in self._points(overrides) if multirun else [list(overrides)]:
            try:
                found |= dict.fromkeys(find_problems(self.compose(point)))
            except CompositionError as error:
                found |= dict.fromkeys(self.explain(point) or [Problem(str(error))])
        return list(found)

    def explain(self, overrides: Sequence[str]) -> list[Problem]:
        """Why these overrides cannot be composed: each bad one, and what else is wrong with the rest."""
        found: list[Problem] = []
        parsed = [p for text in overrides if (p := self._parse(text, found))]
        chosen = self._load([]).hydra.runtime.choices
        choices = [override for override in parsed if self._is_group(override)]
        good: list[str] = []
        for override in [*choices, *(override for override in parsed if override not in choices)]:
            is_choice = override in choices
            if reason := (self._misses_group(override, chosen) if is_choice else "") or self._misfit(override, good):
                found.append(Problem(f"{override.input_line}: {reason}"))
            else:
                good.append(str(override.input_line))
        misnamed = {text.lstrip("+~").partition("=")[0] for text in overrides} - {o.key_or_group for o in parsed}
        chose_all = all(o.input_line in good for o in choices) and not misnamed & set(self._loader.list_groups(""))
        rest = find_problems(self.compose(good))
        return found + [p for p in rest if chose_all or not p.is_missing]

    # --- one override ---

    def _parse(self, text: str, found: list[Problem]) -> Override | None:
        key, equals, value = text.partition("=")
        try:
            override = self._parser.parse_overrides([text])[0]
        except HydraException:
            found.append(Problem(f"{text}: {self._remedy(key, equals, value)}"))
            return None
        if not override.key_or_group:
            found.append(Problem(f"{text}: names no setting; write setting=value"))
            return None
        if override.is_sweep_override():
            found.append(Problem(f"{text}: several values need -m (a run for each); one list is {key}=[{value}]"))
            return None
        return override

    def _remedy(self, key: str, equals: str, value: str) -> str:
        if not equals:
            return "has no value; write setting=value"
        quoted = f"{key}='{value.strip(chr(34) + chr(39))}'"
        try:
            self._parser.parse_overrides([quoted])
        except HydraException:
            return "cannot be read; write setting=value"
        return f'has characters that need quotes; write "{quoted}"'

    def _is_group(self, override: Override) -> bool:
        return bool(self._loader.get_group_options(override.key_or_group, ObjectType.CONFIG))

    def _misses_group(self, override: Override, chosen: DictConfig) -> str:
        """Why a choice from a group cannot be made, or nothing."""
        group, value = override.key_or_group, override.value()
        if not override.is_delete():
            options = self.options(group)
            for option in value if isinstance(value, list) else [value]:
                if str(option) not in options:
                    return f"there is no {group} {_written(override)}{did_you_mean(str(option), options)}"
            if override.is_add() and group in chosen:
                return f"{group} is chosen already; write {group}={_written(override)}"
            if not override.is_add() and not override.is_force_add() and group not in chosen:
                return f"is added, not replaced; write +{group}={_written(override)}"
        return ""

    def _misfit(self, override: Override, before: list[str]) -> str:
        """Why a value cannot be set in the tree that the overrides before it give, or nothing."""
        try:
            self._load([*before, str(override.input_line)])
        except CompositionError as error:
            return self._reason(override, self._load(before)) or str(error)
        return ""

    def _reason(self, override: Override, tree: DictConfig) -> str:
        if self._is_group(override):
            return ""
        parent_path, _, leaf = override.key_or_group.rpartition(".")
        parent = _select(tree, parent_path)
        if isinstance(parent, DictConfig):
            if override.is_add():
                return f"is set already; write {override.key_or_group}={_written(override)}" if leaf in parent else ""
            if leaf in parent:
                return ""
            taken = _arguments(parent)
            if leaf in taken:
                return f"is not in the YAML yet, but can be added; write +{override.input_line}"
            known = [str(k) for k in parent if k != "_target_"] + taken
            if not parent_path:
                known = [k for k in known if k != "hydra"] + self._loader.list_groups("")
            return f"there is no {override.key_or_group}{_hint(leaf, known, parent_path)}"
        while parent_path and not isinstance(_select(tree, parent_path), DictConfig):
            parent_path, _, leaf = parent_path.rpartition(".")
        parent = _select(tree, parent_path)
        known = [str(k) for k in parent if k != "hydra"]
        wrong = f"{parent_path}.{leaf}" if parent_path else leaf
        if leaf in known:
            return f"{wrong} has nothing below it"
        return f"there is no {wrong}{_hint(leaf, known, parent_path)}"

    # --- composing ---

    def _load(self, overrides: Sequence[str], *, multirun: bool = False) -> DictConfig:
        mode = RunMode.MULTIRUN if multirun else RunMode.RUN
        try:
            return self._loader.load_configuration(config_name=CONFIG_NAME, overrides=list(overrides), run_mode=mode)
        except MissingConfigException as error:
            group, _, option = (error.missing_cfg_file or "").rpartition("/")
            raise CompositionError(
                f"there is no {group} {option}{did_you_mean(option, error.options or [])}"
            ) from error
        except YAMLError as error:
            raise CompositionError(f"is no YAML: {' '.join(str(error).split())}") from error
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise CompositionError(_first_line(error)) from error

    def _points(self, overrides: Sequence[str]) -> Iterator[list[str]]:
        """The commands of a sweep's points: every value of each swept setting, the others at their first."""
        swept: list[list[str]] = []
        for text in [*self._swept_in_files(overrides), *overrides]:
            try:
                override = self._parser.parse_overrides([text])[0]
            except HydraException:
                swept.append([text])
                continue
            if not override.is_sweep_override():
                swept.append([text])
            elif override.is_discrete_sweep():
                key = override.get_key_element()
                swept.append([f"{key}={value}" for value in override.sweep_string_iterator()])
            else:  # an interval, for samplers: its lower end stands for it
                value: Any = override.value()
                swept.append([f"{override.get_key_element()}={value.start}"])
        first = [values[0] for values in swept]
        others = ([*first[:i], v, *first[i + 1 :]] for i, values in enumerate(swept) for v in values[1:])
        yield from itertools.islice(itertools.chain([first], others), MOST_POINTS)

    def _swept_in_files(self, overrides: Sequence[str]) -> list[str]:
        """Sweeps that a file brings along, in `hydra.sweeper.params`."""
        try:
            cfg = self._load(overrides, multirun=True)
        except CompositionError:
            return []
        params = OmegaConf.select(cfg, "hydra.sweeper.params")
        return [f"{key}={value}" for key, value in (params or {}).items()]


def _select(tree: DictConfig, path: str) -> Any:
    try:
        return OmegaConf.select(tree, path, throw_on_missing=False) if path else tree
    except OmegaConfBaseException:
        return None


def _arguments(node: DictConfig) -> list[str]:
    """What the node's target takes."""
    try:
        return list(signature(str(node["_target_"])).parameters) if "_target_" in node else []
    except LookupError:
        return []


def _hint(leaf: str, known: list[str], path: str) -> str:
    hint = did_you_mean(leaf, known)
    return hint.replace("did you mean ", f"did you mean {path}.") if path else hint


def _written(override: Override) -> str:
    return str(override.input_line).partition("=")[2]


def _first_line(error: BaseException) -> str:
    """A library's message, without its advice and its links."""
    said = [str(e).strip() for e in (error, error.__cause__) if e is not None and str(e).strip()]
    lines = [line.strip() for line in " ".join(said).splitlines() if line.strip() and "https://" not in line]
    return " ".join(lines[:2]) or type(error).__name__
