"""The search space of a command: Hydra's sweep syntax as Optuna's distributions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from tinv.config.compose import Groups
from tinv.config.override_errors import values_of, with_params
from tinv.errors import UserError
from tinv.sweeps.points import SweepPoint, is_sweep_setting, make_point, setting_of


@dataclass(frozen=True)
class SearchSpace:
    """The settings that Optuna chooses, and the settings that all points share."""

    texts: Mapping[str, str]
    """The searched settings, as typed: `interval(1e-4, 1e-2)`."""
    distributions: Mapping[str, Any]
    """The searched settings as Optuna's distributions."""
    fixed: tuple[str, ...]
    """The overrides that all points share."""
    prefixes: Mapping[str, str]
    """`+` for each searched setting that is added, otherwise an empty string."""
    example: SweepPoint
    """One point of the space."""

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """Returns the overrides that set a trial's parameters."""
        return [f"{self.prefixes[name]}{name}={params[name]}" for name in self.texts]


def search_space(groups: Groups, command: Sequence[str], optuna: Any) -> SearchSpace:
    """Returns the space of a command, together with what files list under `hydra.sweeper.params`.

    Raises:
        UserError: no setting has several values, or Optuna cannot search one.
    """
    texts, distributions, prefixes, fixed, firsts = {}, {}, {}, [], []
    for text in with_params(groups, command):
        override = groups.parse(text)
        name = setting_of(text)
        if override.is_sweep_override():
            texts[name], prefixes[name] = text.partition("=")[2], text[: text.index(name)]
            values = values_of(groups, text)
            distributions[name] = _distribution(override, values, optuna)
            firsts.append(values[0])
        elif not is_sweep_setting(text):
            fixed.append(text)
    if not texts:
        raise UserError(
            "hydra/sweeper=optuna: nothing to search. Give a setting several values, such as "
            "'optimizer.lr=tag(log, interval(1e-4, 1e-2))'."
        )
    return SearchSpace(texts, distributions, tuple(fixed), prefixes, make_point(0, [*fixed, *firsts], ()))


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
        return kinds.CategoricalDistribution([_number_or_text(text.partition("=")[2]) for text in values])
    except ValueError as error:
        raise UserError(f"{override.input_line}: Optuna cannot search this ({error})") from error


def _number_or_text(text: str) -> str | int | float:
    """Numbers stay numbers, so that Optuna's plots have a numeric axis."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
