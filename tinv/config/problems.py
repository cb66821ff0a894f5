"""What is wrong with a composed tree, found by looking at it: unknown, missing and unfit settings."""

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from tinv.config.signatures import Signature, accepts, describe, signature
from tinv.config.target_allowlist import check_targets, join
from tinv.errors import UserError

_HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a setting."""

    text: str
    is_missing: bool = False
    """The setting is required and has no value yet: nothing was typed wrongly."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy in brackets: the nearest known word, or all of them if they are few, or nothing."""
    known = list(known)
    if near := difflib.get_close_matches(word, known, n=1):
        return f" (did you mean {near[0]}?)"
    return f" (there are {', '.join(sorted(known))})" if 0 < len(known) <= 20 else ""


def walk(node: DictConfig | ListConfig, path: str) -> Iterator[Problem]:
    """The problems in a node and below it. Nodes that are interpolated whole are looked at where they are written."""
    taken = None
    if isinstance(node, DictConfig) and not OmegaConf.is_missing(node, "_target_") and "_target_" in node:
        target = str(node["_target_"])
        if reason := check_targets(target):
            yield Problem(f"{path}._target_: {reason}")
        else:
            taken = signature(target)
            yield from unknown(node, taken, path)
            yield from unfit(node, taken, path)
    for key in list(node) if isinstance(node, DictConfig) else range(len(node)):
        here = join(path, key)
        if OmegaConf.is_missing(node, key):
            about = taken.parameters[str(key)].about if taken and key in taken.parameters else ""
            yield Problem(f"{here}: required, but not set{about and f': {_lower(about)}'}", is_missing=True)
            continue
        try:
            value = node[key]
        except InterpolationToMissingValueError:
            continue  # reported where it is missing
        except (OmegaConfBaseException, UserError) as error:
            missing = re.search(r"key '(.+?)' not found", reason := _reason(error))
            if missing is None or missing[1] in str(OmegaConf.to_container(node, resolve=False)):
                yield Problem(f"{here}: {reason}")  # an interpolation of an interpolation is reported at the latter
            continue
        if isinstance(value, DictConfig | ListConfig) and not OmegaConf.is_interpolation(node, key):
            yield from walk(value, here)


def unknown(node: DictConfig, taken: Signature, path: str) -> Iterator[Problem]:
    """The settings of a node that its target does not take."""
    for key in map(str, node):
        if key not in taken.parameters and key not in _HYDRA_KEYS and not taken.open_ended:
            what = taken.target.rpartition(".")[2]
            yield Problem(f"{join(path, key)}: {what} takes no such argument{did_you_mean(key, taken.parameters)}")


def unfit(node: DictConfig, taken: Signature, path: str) -> Iterator[Problem]:
    """The settings of a node whose values its target does not take."""
    for key, parameter in taken.parameters.items():
        if key not in node or OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
            continue  # an interpolated value is looked at where it is written
        value = node[key]
        if isinstance(value, DictConfig | ListConfig):
            try:
                value = OmegaConf.to_container(value, resolve=True)
            except (OmegaConfBaseException, UserError):
                continue  # reported by _walk
        if not accepts(parameter, value):
            whole = isinstance(value, float) and value.is_integer() and accepts(parameter, int(value))
            remedy = f"; write {int(value)}" if whole else ""
            yield Problem(f"{join(path, key)}: must be {describe(parameter)}, got {_shown(value)}{remedy}")


def _shown(value: Any) -> str:
    return {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:] if sentence[1:2].islower() or sentence[1:2] == " " else sentence


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
