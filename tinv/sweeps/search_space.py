"""From Hydra's ways of naming several values to Optuna's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from tinv.config.compose import Groups
from tinv.config.override_errors import values_of, with_params
from tinv.errors import UserError
from tinv.sweeps.points import SweepPoint, key, point


@dataclass(frozen=True)
class SearchSpace:
    """What is searched."""

    texts: Mapping[str, str]
    """By setting, what was typed: `interval(1e-4, 1e-2)`."""
    distributions: Mapping[str, Any]
    """By setting, as Optuna has it."""
    fixed: tuple[str, ...]
    """The overrides that are the same for every point."""
    prefixes: Mapping[str, str]
    """By setting, the `+` that adds it, or nothing."""
    example: SweepPoint
    """Some point of the space."""

    def overrides(self, chosen: Mapping[str, Any]) -> list[str]:
        """The overrides that set what was chosen."""
        return [f"{self.prefixes[name]}{name}={chosen[name]}" for name in self.texts]


def space(groups: Groups, command: Sequence[str], optuna: Any) -> SearchSpace:
    """The space that a command spans, with what files list under `hydra.sweeper.params`.

    Raises:
        UserError: there is nothing to search, or nothing that Optuna could.
    """
    texts, distributions, prefixes, fixed, firsts = {}, {}, {}, [], []
    for text in with_params(groups, command):
        override = groups.parse(text)
        name = key(text)
        if override.is_sweep_override():
            texts[name], prefixes[name] = text.partition("=")[2], text[: text.index(name)]
            values = values_of(groups, text)
            distributions[name] = _distribution(override, values, optuna)
            firsts.append(values[0])
        elif not name.startswith(("hydra.", "hydra/", "sweep.")):
            fixed.append(text)
    if not texts:
        raise UserError(
            "hydra/sweeper=optuna: nothing is to be searched; give a setting several values, such as "
            "'optimizer.lr=tag(log, interval(1e-4, 1e-2))'"
        )
    return SearchSpace(texts, distributions, tuple(fixed), prefixes, point(0, [*fixed, *firsts], ()))


def _distribution(override: Override, values: Sequence[str], optuna: Any) -> Any:
    value, kinds = override.value(), optuna.distributions
    try:
        if isinstance(value, IntervalSweep):
            low, high = value.start, value.end
            kind = kinds.IntDistribution if isinstance(low, int) and isinstance(high, int) else kinds.FloatDistribution
            return kind(low, high, log="log" in value.tags)
        if isinstance(value, RangeSweep) and value.shuffle is False and len(values) > 1:
            numbers = list(value.range())
            kind = kinds.IntDistribution if all(isinstance(n, int) for n in numbers) else kinds.FloatDistribution
            return kind(min(numbers), max(numbers), step=abs(numbers[1] - numbers[0]))
        return kinds.CategoricalDistribution([_plain(text.partition("=")[2]) for text in values])
    except ValueError as error:
        raise UserError(f"{override.input_line}: cannot be searched ({error})") from error


def _plain(text: str) -> str | int | float:
    """A number where it is one, so that pictures of the study have it in its place."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
