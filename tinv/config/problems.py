"""Finds problems in composed settings: unknown and missing keys, and values of the wrong type."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from tinv.config.signatures import Signature, accepts, describe, signature
from tinv.config.target_allowlist import FACTORIES, check_target, disallowed_targets, group_of, join_path
from tinv.errors import UserError, did_you_mean

_HYDRA_KEYS = {"_target_", "_partial_"}
_REFERENCE = re.compile(r"\$\{[\w.]+\}")


@dataclass(frozen=True)
class Problem:
    """A problem with a setting."""

    text: str
    is_missing: bool = False
    """Whether the setting is required and not set; nothing that was typed is wrong."""

    def __str__(self) -> str:
        return self.text


def node_problems(node: DictConfig | ListConfig, path: str) -> Iterator[Problem]:
    """Yields the problems of a node and everything below it; interpolated nodes are checked where they are defined."""
    target_signature = None
    if isinstance(node, DictConfig) and not OmegaConf.is_missing(node, "_target_") and "_target_" in node:
        target = str(node["_target_"])
        if reason := check_target(target, path):
            yield Problem(f"{path}._target_: {reason}")
        elif node.get("_partial_") and group_of(path) not in FACTORIES:
            yield Problem(f"{path}._partial_: only {' and '.join(FACTORIES)} take it; remove it")
        else:
            target_signature = signature(target)
            yield from argument_problems(node, target_signature, path)
    for key in list(node) if isinstance(node, DictConfig) else range(len(node)):
        key_path = join_path(path, key)
        if OmegaConf.is_missing(node, key):
            parameter = target_signature.parameters.get(str(key)) if target_signature else None
            about = f": {_lower(parameter.about)}" if parameter and parameter.about else ""
            yield Problem(f"{key_path}: required, but not set{about}", is_missing=True)
            continue
        try:
            value = node[key]
        except InterpolationToMissingValueError:
            continue  # reported where the value is missing
        except (OmegaConfBaseException, UserError) as error:
            missing = re.search(r"key '(.+?)' not found", reason := _first_line(error))
            if missing is None or missing[1] in str(OmegaConf.to_container(node, resolve=False)):
                yield Problem(f"{key_path}: {reason}")  # an interpolation of an interpolation is reported at the latter
            continue
        if not isinstance(value, DictConfig | ListConfig):
            continue
        if not OmegaConf.is_interpolation(node, key):
            yield from node_problems(value, key_path)
        elif not _REFERENCE.fullmatch(str(OmegaConf.to_container(node, resolve=False)[key])):  # type: ignore[index]
            yield from (Problem(f"{p}._target_: {reason}") for p, reason in disallowed_targets(value, key_path))


def argument_problems(node: DictConfig, target: Signature, path: str) -> Iterator[Problem]:
    """Yields the settings of a node that its target does not accept: unknown names and values of the wrong type."""
    for key in map(str, node):
        is_reserved = key.startswith("_") and key.endswith("_")
        if key not in target.parameters and key not in _HYDRA_KEYS and (is_reserved or not target.open_ended):
            name = target.target.rpartition(".")[2]
            hint = did_you_mean(key, target.parameters)
            yield Problem(f"{join_path(path, key)}: {name} takes no such argument{hint}")
    yield from value_problems(node, target, path)


def value_problems(node: DictConfig, target: Signature, path: str) -> Iterator[Problem]:
    """Yields the settings of a node whose values have the wrong type."""
    for key, parameter in target.parameters.items():
        if key not in node or OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
            continue  # an interpolated value is checked where it is defined
        value = node[key]
        if isinstance(value, DictConfig | ListConfig):
            try:
                value = OmegaConf.to_container(value, resolve=True)
            except (OmegaConfBaseException, UserError):
                continue  # reported by node_problems
        if not accepts(parameter, value):
            is_integral = isinstance(value, float) and value.is_integer() and accepts(parameter, int(value))
            remedy = f"; write {int(value)}" if is_integral else ""
            yield Problem(f"{join_path(path, key)}={_format(value)}: must be {describe(parameter)}{remedy}")


def _format(value: Any) -> str:
    return {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:] if sentence[1:2].islower() or sentence[1:2] == " " else sentence


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
