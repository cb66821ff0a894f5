"""The points of a sweep: what each one is called, and what it differs in from the first."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tinv.config.compose import CompositionError, Groups
from tinv.config.override_errors import explain, values_of, with_params
from tinv.errors import UserError
from tinv.sweeps.point_names import format_swept

APART = ("sweep", "resume", "paths", "tags")
"""Settings that say how, where and under which words a point is run: it is the same point with others."""


@dataclass(frozen=True)
class SweepPoint:
    """One run of a sweep."""

    number: int
    """Its folder in the sweep's."""
    overrides: tuple[str, ...]
    """What it would take to run it alone."""
    swept: Mapping[str, str] = field(default_factory=dict)
    """What was swept, and to what, in the order in which it was typed."""

    @property
    def key(self) -> str:
        """12 hex digits for the swept values, in whatever order they were typed."""
        swept = sorted(f"{key}={value}" for key, value in self.swept.items())
        return blake2b("\n".join(swept).encode(), digest_size=6).hexdigest()

    @property
    def label(self) -> str:
        """`point 2 (lr=0.001)`."""
        return f"point {self.number} ({format_swept(self.swept)})" if self.swept else f"point {self.number}"


def combinations(groups: Groups, overrides: Sequence[str]) -> list[SweepPoint]:
    """A point for every combination of the swept values; those of the last key change fastest.

    Raises:
        UserError: a setting is to be searched, not swept.
    """
    choices = []
    for text in with_params(groups, overrides):
        override = groups.parse(text)
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise UserError(f"{text}: there is no end of values between two; list some, or add hydra/sweeper=optuna")
        choices.append(list(dict.fromkeys(values_of(groups, text))))
    swept = [i for i, values in enumerate(choices) if len(values) > 1]
    return [
        point(number, chosen, [chosen[i] for i in swept]) for number, chosen in enumerate(itertools.product(*choices))
    ]


def point(number: int, overrides: Sequence[str], swept: Sequence[str]) -> SweepPoint:
    """A point from the overrides that make it, and those of them that were swept."""
    kept = tuple(text for text in overrides if not key(text).startswith(("sweep.", "hydra.", "hydra/")))
    return SweepPoint(number, kept, {key(text): text.partition("=")[2] for text in swept})


def key(override: str) -> str:
    """The setting or group that an override is about."""
    return override.lstrip("+~").partition("=")[0]


def settings(groups: Groups, point: SweepPoint) -> dict[str, Any]:
    """Every setting of a point by its dotted name, as written: interpolations stay what they are.

    Raises:
        CompositionError: naming the point and everything that cannot be composed.
    """
    try:
        tree = groups.compose(point.overrides)
    except CompositionError as error:
        reasons = [problem.text for problem in explain(groups, point.overrides)] or [str(error)]
        raise CompositionError(f"{point.label}: {'; '.join(reasons)}") from error
    return {name: value for name, value in _flat(tree) if name.partition(".")[0] not in APART}


def differences(first: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What the other has differently; a setting that it lacks is `<none>`."""
    names = [*first, *(name for name in other if name not in first)]
    return {name: other.get(name, NONE) for name in names if first.get(name, NONE) != other.get(name, NONE)}


NONE = "<none>"


def _flat(tree: DictConfig) -> Iterator[tuple[str, Any]]:
    def below(value: Any, name: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict) and value:
            for inner in value:
                yield from below(value[inner], f"{name}.{inner}" if name else str(inner))
        else:
            yield name, value

    yield from below(OmegaConf.to_container(tree, resolve=False), "")
