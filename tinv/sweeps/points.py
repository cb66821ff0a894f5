"""The points of a sweep: their names, their overrides, and how their settings differ."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tinv.config.compose import Groups
from tinv.config.override_errors import values_of, with_params
from tinv.errors import UserError
from tinv.sweeps.point_names import format_swept

NOT_COMPARED = ("sweep", "resume", "resume_data", "paths", "tags")
"""Settings that do not change what a point learns: they may differ when a sweep is resumed."""
MISSING = "<none>"
"""Stands for the value of a setting that a point does not have."""


@dataclass(frozen=True)
class SweepPoint:
    """One run of a sweep."""

    number: int
    """The name of its folder inside the sweep's folder."""
    overrides: tuple[str, ...]
    """The overrides that run it alone."""
    swept: Mapping[str, str] = field(default_factory=dict)
    """The swept settings and their values, in the order of the command."""

    @property
    def key(self) -> str:
        """12 hexadecimal digits that identify the swept values in any order."""
        swept = sorted(f"{key}={value}" for key, value in self.swept.items())
        return blake2b("\n".join(swept).encode(), digest_size=6).hexdigest()

    @property
    def label(self) -> str:
        """`point 2 (lr=0.001)`."""
        return f"point {self.number} ({format_swept(self.swept)})" if self.swept else f"point {self.number}"


def combinations(groups: Groups, overrides: Sequence[str]) -> list[SweepPoint]:
    """Returns a point for each combination of the swept values; the last key changes fastest.

    Raises:
        UserError: an override is an interval, which only a search can use.
    """
    choices = []
    for text in with_params(groups, overrides):
        override = groups.parse(text)
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise UserError(
                f"{text}: a grid cannot sweep an interval. List the values, or search with hydra/sweeper=optuna."
            )
        choices.append(list(dict.fromkeys(values_of(groups, text))))
    swept = [i for i, values in enumerate(choices) if len(values) > 1]
    return [
        make_point(number, chosen, [chosen[i] for i in swept])
        for number, chosen in enumerate(itertools.product(*choices))
    ]


def make_point(number: int, overrides: Sequence[str], swept: Sequence[str]) -> SweepPoint:
    """Returns a point with these overrides, except those of Hydra and of the sweep itself.

    Args:
        number: the point's number.
        overrides: every override of the command, with one value each.
        swept: those of them that are swept.
    """
    own = tuple(text for text in overrides if not is_sweep_setting(text))
    return SweepPoint(number, own, {setting_of(text): text.partition("=")[2] for text in swept})


def is_sweep_setting(override: str) -> bool:
    """Whether an override sets the sweep or Hydra, and not the run."""
    return setting_of(override).startswith(("sweep.", "hydra.", "hydra/"))


def setting_of(override: str) -> str:
    """Returns the setting or group that an override changes."""
    return override.lstrip("+~").partition("=")[0]


def flatten(cfg: DictConfig) -> dict[str, Any]:
    """Returns the settings that identify a point, by dotted name; interpolations are not resolved."""
    return {
        name: value
        for name, value in _leaves(OmegaConf.to_container(cfg, resolve=False), "")
        if name.partition(".")[0] not in NOT_COMPARED
    }


def differences(first: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of `other` that `first` has differently; a setting that `other` lacks is `MISSING`."""
    names = dict.fromkeys([*first, *other])
    return {name: other.get(name, MISSING) for name in names if first.get(name, MISSING) != other.get(name, MISSING)}


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key in value:
            yield from _leaves(value[key], f"{name}.{key}" if name else str(key))
    else:
        yield name, value
