"""Settings that run code or choose where files are written, which a configuration file must not change on its own.

A file of configuration may come from someone else. What is typed on the command line is the user's own, and so are the
files in the folders of `TINV_TRUSTED_CONFIG_DIRS`. All other files leave these settings as tinv ships them. The checks
read the settings before any interpolation is resolved: what a file hides behind one is refused unseen.

`CheckedConfigLoader` checks whatever Hydra composes, before Hydra configures logging, builds a launcher or a callback,
or makes a folder.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from tinv.config.target_allowlist import check_target, join_path
from tinv.config.validate import CONF_DIR, ConfigError

TRUSTED_VARIABLE = "TINV_TRUSTED_CONFIG_DIRS"
"""Environment variable with the folders of the user's own configuration files, separated as in PATH."""

REMEDY = f"type it on the command line, or add the folder of your files to {TRUSTED_VARIABLE}"

AUTO = "auto"
"""Value of `hydra.run.dir` and `hydra.sweep.dir`: a folder in `<paths.root_dir>/<name>`."""

_OUTPUT_DIR = "${paths.output_dir}"
_SHIPPED: Mapping[str, tuple[Any, ...]] = {
    "hydra.run.dir": (AUTO,),
    "hydra.sweep.dir": (AUTO,),
    "hydra.sweep.subdir": ("${hydra.job.num}",),
    "hydra.output_subdir": (".hydra",),
    "hydra.searchpath": ([],),
    "hydra.job.env_set.*": (),
    "hydra.job.env_copy": ([],),
    "hydra.launcher.setup": ([],),
    "hydra.launcher.python": (None,),
    "paths.output_dir": ("${hydra:runtime.output_dir}",),
    "callbacks.*.dir": (_OUTPUT_DIR,),
    "logger.*.dir": (_OUTPUT_DIR,),
    "trainer.default_root_dir": (None,),
}
"""Restricted settings and the values that a file may give them."""

_FOLDERS = {
    "paths.root_dir": (),
    "paths.cache_dir": (None, AUTO),
    "resume": (None, AUTO, "latest"),
    "sweep.resume": (None,),
    "hydra.sweeper.storage": (None,),
}
"""Settings that a file may set to a path in the working directory, and the values of theirs that are no paths."""

_OPTIONS = "hydra.launcher.options.*"
_HARMLESS_OPTIONS = frozenset(
    "constraint cores-per-socket exclude exclusive gres gpus gpu-bind gpu-freq hint hold licenses mail-type mem-bind "
    "mem-per-cpu mem-per-gpu nice nodelist prefer priority qos reservation signal-delay switches threads-per-core "
    "tmp wckey".split()
)
"""Options of sbatch that a file may set: they neither run anything nor name a file."""

_PATTERNS = (*_SHIPPED, *_FOLDERS, _OPTIONS, "hydra.job.name", "hydra.job_logging", "hydra.hydra_logging")

_LOGGING_KEYS = frozenset(
    "version disable_existing_loggers incremental root loggers formatters handlers level propagate format datefmt "
    "style formatter delay mode encoding class stream filename".split()
)
_LOGGING_CHOICES = {
    "class": ("logging.StreamHandler", "logging.FileHandler", "logging.NullHandler"),
    "stream": ("ext://sys.stdout", "ext://sys.stderr"),
    "filename": ("${hydra.runtime.output_dir}/${hydra.job.name}.log",),
}
_ENVIRONMENT = re.compile(r"\$\{oc\.env:\w+(,\s*\w*)?\}")


class CheckedConfigLoader(ConfigLoaderImpl):
    """Composes as Hydra does, and refuses what a file must not set."""

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Returns the composed tree; Hydra calls this for a command and for each point of a sweep.

        Raises:
            ConfigError: lists the settings that a file must not set.
        """
        typed = typed_settings(overrides)
        is_trusted = "hydra.searchpath" not in typed and all(
            is_trusted_folder(source.path)
            for source in self.repository.get_sources()
            if source.provider == "command-line"
        )
        tree = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        raw: Any = OmegaConf.to_container(tree, resolve=False)
        _raise_any(_plugin_problems(raw))
        if not is_trusted:
            _raise_any(restricted_problems(raw, typed, overrides))
        return tree


def is_trusted_folder(folder: Path | str) -> bool:
    """Whether a folder of configuration files is the user's own, or the one of tinv's studies."""
    trusted = [Path(name) for name in os.environ.get(TRUSTED_VARIABLE, "").split(os.pathsep) if name]
    return any(_is_inside(folder, other) for other in (*trusted, CONF_DIR.parent / "sweep"))


def trust_in_children(folder: Path) -> None:
    """Lets the processes that this one starts, and their jobs, trust a copy of files that this one trusts."""
    trusted = os.environ.get(TRUSTED_VARIABLE)
    os.environ[TRUSTED_VARIABLE] = f"{trusted}{os.pathsep}{folder}" if trusted else str(folder)


def typed_settings(overrides: Sequence[str]) -> dict[str, Any]:
    """Returns the settings that overrides of the command line set, by dotted name; those in a mapping one by one."""
    typed: dict[str, Any] = {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.package is None and not override.is_delete():
            typed.update(_leaves(override.value(), override.key_or_group))
    return typed


def command_problems(overrides: Sequence[str]) -> Iterator[str]:
    """Yields the settings of a command from a file that files must not set."""
    typed = typed_settings(overrides)
    tree = OmegaConf.create()
    for path, value in typed.items():
        if not any(other.startswith(f"{path}.") for other in typed):
            is_plain = isinstance(value, int | float | str | list | None)
            OmegaConf.update(tree, path, value if is_plain else "${swept}", force_add=True)
    yield from restricted_problems(OmegaConf.to_container(tree), {}, overrides)


def restricted_problems(raw: Any, typed: Mapping[str, Any], overrides: Sequence[str] = ()) -> Iterator[str]:
    """Yields the settings of an unresolved tree that files must not set, and that were not typed."""
    for pattern, values in _SHIPPED.items():
        yield from _shipped_problems(raw, typed, pattern, values)
    for pattern, words in _FOLDERS.items():
        for path, value in _select(raw, pattern):
            if path not in typed and value not in words and not _is_in_working_directory(value):
                yield f"{path}={value}: a file may set it to a path inside the working directory only; {REMEDY}"
    for path, value in _select(raw, _OPTIONS):
        if path not in typed and (path.rpartition(".")[2] not in _HARMLESS_OPTIONS or _is_hidden(value)):
            yield f"{path}={value}: a file may not set this option; {REMEDY}"
    for path, value in _select(raw, "hydra.job.name"):
        if path not in typed and not re.fullmatch(r"\w[\w.-]*", str(value)):
            yield f"{path}={value}: must be a file name; {REMEDY}"
    for group in ("job_logging", "hydra_logging"):
        for path, value in _select(raw, f"hydra.{group}"):
            yield from _logging_problems(value, typed, path)
    for path, value in _select(raw, "hydra.sweeper.params.*"):
        name = path.removeprefix("hydra.sweeper.params.").lstrip("+~")
        if "=" in name or _is_restricted(name) or (_holds_restricted(name) and re.search(r"[{$]", str(value))):
            yield f"{path}: a file may not sweep it; type it on the command line"
    for key in ("task", "hydra"):
        for _, values in _select(raw, f"hydra.overrides.{key}"):
            if not isinstance(values, list) or any(text not in overrides for text in values):
                yield f"hydra.overrides.{key}: is a record of the command; remove it from the file"


def _raise_any(problems: Iterator[str]) -> None:
    if listed := list(problems):
        raise ConfigError(listed)


def _shipped_problems(raw: Any, typed: Mapping[str, Any], pattern: str, values: tuple[Any, ...]) -> Iterator[str]:
    for path, value in _select(raw, pattern):
        is_copied = path.rpartition(".")[2] in typed.get("hydra.job.env_copy", ())
        if value not in values and path not in typed and not is_copied:
            yield f"{path}={value}: a file may not set it; {REMEDY}"


def _plugin_problems(raw: Any) -> Iterator[str]:
    """Yields what Hydra would build that the allowlist does not name, in whatever way it was set."""
    for pattern in ("hydra.callbacks.*", "hydra.launcher", "hydra.sweeper"):
        for path, node in _select(raw, pattern):
            yield from _node_problems(node, path)
            if not isinstance(node, dict) or "_target_" not in node:
                yield f"{path}={node}: has no _target_"


def _node_problems(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, str) and "${" in node and not _ENVIRONMENT.fullmatch(node):
        yield f"{path}={node}: takes no interpolation except ${{oc.env:NAME}}; write the value"
    if isinstance(node, dict) and "_target_" in node and (reason := check_target(str(node["_target_"]), path)):
        yield f"{path}._target_: {reason}"
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from _node_problems(value, join_path(path, key))


def _logging_problems(node: Any, typed: Mapping[str, Any], path: str, *, are_names: bool = False) -> Iterator[str]:
    """Yields what Python's logging would build, import or write besides tinv's handlers."""
    for key, value in node.items() if isinstance(node, dict) else ():
        key_path = join_path(path, key)
        if key_path in typed:
            continue
        if not are_names and key not in _LOGGING_KEYS:
            yield f"{key_path}: a file may not set it; {REMEDY}"
        elif not are_names and key in _LOGGING_CHOICES:
            if value not in _LOGGING_CHOICES[key]:
                yield f"{key_path}={value}: a file may set only {', '.join(_LOGGING_CHOICES[key])}; {REMEDY}"
        elif isinstance(value, dict):
            are_next_names = not are_names and key in ("loggers", "formatters", "handlers")
            yield from _logging_problems(value, typed, key_path, are_names=are_next_names)
        elif are_names or not all(map(_is_plain_text, value if isinstance(value, list) else [value])):
            yield f"{key_path}={value}: a file may write only plain text; {REMEDY}"
    if isinstance(node, str):
        yield f"{path}={node}: a file may not replace it; {REMEDY}"


def _select(raw: Any, pattern: str, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the settings that a pattern names, or the interpolation that takes the place of a node above them."""
    key, _, below = pattern.partition(".")
    if not pattern or (isinstance(raw, str) and "${" in raw):
        yield path, raw
    elif isinstance(raw, dict):
        for name in list(raw) if key == "*" else [key]:
            if name in raw and raw[name] != "???":
                yield from _select(raw[name], below, join_path(path, name))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, value
    for key, item in value.items() if isinstance(value, dict) else ():
        yield from _leaves(item, join_path(path, key))


def _is_restricted(name: str) -> bool:
    """Whether a setting, or what is above it, is restricted."""
    parts = name.split(".")
    above = [".".join(parts[: i + 1]) for i in range(len(parts))]
    return name.startswith(("hydra", "sweep.")) or any(fnmatchcase(path, p) for path in above for p in _PATTERNS)


def _holds_restricted(name: str) -> bool:
    return any(pattern.startswith(f"{name}.") or fnmatchcase(name, pattern.rpartition(".")[0]) for pattern in _PATTERNS)


def _is_plain_text(value: Any) -> bool:
    return not isinstance(value, dict | list) and not _is_hidden(value) and "://" not in str(value)


def _is_hidden(value: Any) -> bool:
    return "${" in str(value)


def _is_in_working_directory(value: Any) -> bool:
    """Whether a value is a number or a plain path inside the working directory, links followed."""
    if isinstance(value, int):
        return True
    path = str(value).removeprefix("sqlite:///")
    return not _is_hidden(value) and "://" not in path and _is_inside(path, Path.cwd())


def _is_inside(path: Path | str, folder: Path | str) -> bool:
    return Path(path).expanduser().resolve().is_relative_to(Path(folder).expanduser().resolve())
