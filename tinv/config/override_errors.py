"""Everything that is wrong with what was typed.

Hydra stops at the first override that does not fit, and its message is about Hydra. Here the overrides are looked at
one by one: first those that choose from a group, then, on the tree that the good choices give, the rest.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tinv.config import secrets as secret
from tinv.config import validate as config
from tinv.config.compose import CompositionError, Groups
from tinv.config.problems import Problem, did_you_mean
from tinv.config.signatures import signature

MOST_POINTS = 64
"""How many points of a sweep are looked at before the first one runs."""
LAID_OVER = ("recipe", "debug")
"""Groups that change what an experiment says, and so must come after it."""


def find_problems(groups: Groups, overrides: Sequence[str], *, multirun: bool = False) -> list[Problem]:
    """Everything that is wrong with a command, for every point if it is a sweep. Nothing is run or made."""
    if leaks := _leaks(overrides):
        return leaks
    found: dict[Problem, None] = {}
    for point in points(groups, overrides) if multirun else [list(overrides)]:
        found |= dict.fromkeys(_undone(point))
        try:
            found |= dict.fromkeys(config.find_problems(groups.compose(point)))
        except CompositionError as error:
            found |= dict.fromkeys(explain(groups, point) or [Problem(str(error))])
    return list(found)


def explain(groups: Groups, overrides: Sequence[str]) -> list[Problem]:
    """Why these overrides cannot be composed: each bad one, and what else is wrong with the rest."""
    if leaks := _leaks(overrides):
        return leaks
    found: list[Problem] = []
    parsed: list[Override] = []
    for text in overrides:
        if reason := _misspelling(groups, text):
            found.append(Problem(f"{text}: {reason}"))
        else:
            parsed.append(groups.parse(text))
    choices = [override for override in parsed if groups.options(override.key_or_group)]
    good = _all_or_none(groups, choices)
    for override in [*([] if good else choices), *(override for override in parsed if override not in choices)]:
        if reason := (_missed_choice(groups, override) if override in choices else "") or _misfit(
            groups, override, good
        ):
            found.append(Problem(f"{override.input_line}: {reason}"))
        else:
            good.append(str(override.input_line))
    unread = {text.lstrip("+~").partition("=")[0] for text in overrides} - {o.key_or_group for o in parsed}
    chose_all = all(o.input_line in good for o in choices) and not unread & set(groups.names())
    rest = config.find_problems(groups.compose(good))
    return found + [problem for problem in rest if chose_all or not problem.is_missing]


def _all_or_none(groups: Groups, choices: Sequence[Override]) -> list[str]:
    """All choices, if they can be composed together: usually it is a value that is wrong, and one look is enough."""
    texts = [str(choice.input_line) for choice in choices]
    try:
        groups.join(texts)
    except CompositionError:
        return []
    return texts


def _leaks(overrides: Sequence[str]) -> list[Problem]:
    """The overrides that give a token away; nothing else is said then, for it could quote them."""
    keys = [secret.hide(text.partition("=")[0].lstrip("+~")) for text in overrides if secret.is_secret_override(text)]
    return [Problem(f"{key}: {secret.REMEDY}") for key in keys]


def _undone(overrides: Sequence[str]) -> Iterator[Problem]:
    """What an experiment that was typed after it would undo."""
    groups = [text.lstrip("+").partition("=")[0] for text in overrides]
    experiment = groups.index("experiment") if "experiment" in groups else 0
    for group, text in zip(groups[:experiment], overrides, strict=False):
        if group in LAID_OVER:
            yield Problem(f"{text}: the experiment after it would undo it; write it after {overrides[experiment]}")


# --- one override -----------------------------------------------------------------------------------------------------


def _misspelling(groups: Groups, text: str) -> str:
    """Why an override cannot be read, or nothing."""
    key, equals, value = text.partition("=")
    try:
        override = groups.parse(text)
    except HydraException:
        if not equals:
            return "has no value; write setting=value"
        quoted = f"{key}='{value.strip(chr(34) + chr(39))}'"
        try:
            groups.parse(quoted)
        except HydraException:
            return "cannot be read; write setting=value"
        return f'has characters that need quotes; write "{quoted}"'
    if not override.key_or_group:
        return "names no setting; write setting=value"
    if override.is_sweep_override():
        return f"several values need -m (a run for each); one list is {key}=[{value}]"
    return ""


def _missed_choice(groups: Groups, override: Override) -> str:
    """Why an option cannot be chosen, or nothing."""
    group, value, written = override.key_or_group, override.value(), _written(override)
    if override.is_delete():
        return ""
    options = groups.options(group)
    for option in value if isinstance(value, list) else [value]:
        if str(option) not in options:
            return f"there is no {group} {written}{did_you_mean(str(option), options)}"
    is_chosen = group in groups.join([]).hydra.runtime.choices
    if override.is_add() and is_chosen:
        return f"{group} is chosen already; write {group}={written}"
    if not override.is_add() and not override.is_force_add() and not is_chosen:
        return f"is added, not replaced; write +{override.get_key_element()}={written}"
    return ""


def _misfit(groups: Groups, override: Override, before: list[str]) -> str:
    """Why an override does not fit the tree that those before it give, or nothing."""
    try:
        groups.join([*before, str(override.input_line)])
    except CompositionError as error:
        is_choice = bool(groups.options(override.key_or_group))
        return ("" if is_choice else _misplaced(groups, override, groups.join(before))) or str(error)
    return ""


def _misplaced(groups: Groups, override: Override, tree: DictConfig) -> str:
    """What is wrong with the place of a value, or nothing."""
    path, _, leaf = override.key_or_group.rpartition(".")
    while path and not isinstance(_select(tree, path), DictConfig):
        path, _, leaf = path.rpartition(".")
    parent = _select(tree, path)
    here = f"{path}.{leaf}" if path else leaf
    known = [str(key) for key in parent if key not in ("hydra", "_target_")]
    if here != override.key_or_group:
        return f"{here} has nothing below it" if leaf in known else f"there is no {here}{_hint(leaf, known, path)}"
    if override.is_add():
        return f"is set already; write {here}={_written(override)}" if leaf in known else ""
    if leaf in known:
        return ""
    taken = _arguments(parent)
    if leaf in taken:
        return f"is not in the YAML yet, but can be added; write +{override.input_line}"
    return f"there is no {here}{_hint(leaf, [*known, *taken, *(() if path else groups.names())], path)}"


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


# --- a sweep ----------------------------------------------------------------------------------------------------------


def mode(groups: Groups, overrides: Sequence[str]) -> RunMode | None:
    """What `hydra.mode` is: a file that sets it to MULTIRUN asks for a sweep, so that -m need not be typed."""
    try:
        chosen: RunMode | None = groups.join(next(points(groups, overrides))).hydra.mode
    except CompositionError:
        return None
    return chosen


def points(groups: Groups, overrides: Sequence[str]) -> Iterator[list[str]]:
    """The commands of a sweep's points: every value of each swept setting, the others at their first."""
    values = [values_of(groups, text) for text in with_params(groups, overrides)]
    first = [v[0] for v in values]
    others = ([*first[:i], other, *first[i + 1 :]] for i, v in enumerate(values) for other in v[1:])
    yield from itertools.islice(itertools.chain([first], others), MOST_POINTS)


def with_params(groups: Groups, overrides: Sequence[str]) -> list[str]:
    """The overrides, and those that a file sweeps (`hydra.sweeper.params`) and the command does not name.

    In this order, so that what a study chooses from a group wins over what the study itself sets.
    """
    try:
        firsts = [values_of(groups, text)[0] for text in overrides]
        params = OmegaConf.select(groups.join(firsts), "hydra.sweeper.params") or {}
    except CompositionError:
        return list(overrides)  # explained where the point is looked at
    typed = {text.lstrip("+~").partition("=")[0] for text in overrides}
    return [*overrides, *(f"{key}={value}" for key, value in params.items() if key.lstrip("+") not in typed)]


def values_of(groups: Groups, text: str) -> list[str]:
    """An override for each value of a swept one."""
    try:
        override = groups.parse(text)
    except HydraException:
        return [text]
    if not override.is_sweep_override():
        return [text]
    key = override.get_key_element()
    if override.is_discrete_sweep():
        return [f"{key}={value}" for value in override.sweep_string_iterator()] or [text]
    interval: Any = override.value()  # for samplers: its lower end stands for it
    return [f"{key}={interval.start}"]
