"""Explains what is wrong with the overrides of a command.

Hydra stops at the first override that does not fit, with a message about Hydra. This module checks the overrides one by
one: first the choices of groups, then, on the tree of the valid choices, the values.
"""

import difflib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tinv.config import secrets, validate
from tinv.config.compose import CompositionError, Groups
from tinv.config.problems import Problem
from tinv.config.signatures import signature
from tinv.errors import did_you_mean

MAX_POINTS = 64
"""The number of points of a sweep that are checked before the first one runs."""
LAST_GROUPS = ("recipe", "debug")
"""Groups that change what an experiment sets, and so must come after it."""


def find_problems(groups: Groups, overrides: Sequence[str], *, multirun: bool = False) -> list[Problem]:
    """Returns all problems of a command, for every point if it is a sweep."""
    if problems := _secret_problems(overrides):
        return problems
    problems = []
    for point in sweep_points(groups, overrides) if multirun else [list(overrides)]:
        problems += _order_problems(point)
        try:
            problems += validate.find_problems(groups.compose(point))
            problems += validate.secret_problems(OmegaConf.create({"hydra": HydraConfig.get()}))
        except CompositionError as error:
            problems += explain(groups, point) or [Problem(str(error))]
    return list(dict.fromkeys(problems))


def explain(groups: Groups, overrides: Sequence[str]) -> list[Problem]:
    """Returns the reasons why overrides cannot be composed, and the problems of the settings without the wrong ones."""
    if problems := _secret_problems(overrides):
        return problems
    problems = []
    parsed: list[Override] = []
    for text in overrides:
        if reason := _syntax_error(groups, text):
            problems.append(Problem(f"{text}: {reason}"))
        else:
            parsed.append(groups.parse(text))
    choices = [override for override in parsed if groups.options(override.key_or_group)]
    valid = _all_or_none(groups, choices)
    for override in [*([] if valid else choices), *(override for override in parsed if override not in choices)]:
        reason = _choice_error(groups, override) if override in choices else ""
        if reason := reason or _value_error(groups, override, valid):
            problems.append(Problem(f"{override.input_line}: {reason}"))
        else:
            valid.append(str(override.input_line))
    unread = {text.lstrip("+~").partition("=")[0] for text in overrides} - {o.key_or_group for o in parsed}
    has_all_choices = all(o.input_line in valid for o in choices) and not unread & set(groups.names())
    remaining = validate.find_problems(groups.compose(valid))
    return problems + [problem for problem in remaining if has_all_choices or not problem.is_missing]


def _all_or_none(groups: Groups, choices: Sequence[Override]) -> list[str]:
    """Returns all choices if they can be composed together, else an empty list: usually only a value is wrong."""
    texts = [str(choice.input_line) for choice in choices]
    try:
        groups.join(texts)
    except CompositionError:
        return []
    return texts


def _secret_problems(overrides: Sequence[str]) -> list[Problem]:
    """Returns the overrides that contain a token; other messages could quote it, so there are no others then."""
    return [Problem(problem) for text in overrides if (problem := secrets.override_problem(text))]


def _order_problems(overrides: Sequence[str]) -> Iterator[Problem]:
    """Yields the recipes that a later experiment would undo."""
    groups = [text.lstrip("+").partition("=")[0] for text in overrides]
    experiment = groups.index("experiment") if "experiment" in groups else 0
    for group, text in zip(groups[:experiment], overrides, strict=False):
        if group in LAST_GROUPS:
            yield Problem(f"{text}: the experiment after it would undo it; write it after {overrides[experiment]}")


# --- one override -----------------------------------------------------------------------------------------------------


def _syntax_error(groups: Groups, text: str) -> str:
    """Returns the reason why an override cannot be parsed, or an empty string."""
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
            return "cannot be parsed; write setting=value"
        return f'has characters that need quotes; write "{quoted}"'
    if not override.key_or_group:
        return "names no setting; write setting=value"
    if override.is_sweep_override():
        return f"several values need -m (one run for each); a list is {key}=[{value}]"
    return ""


def _choice_error(groups: Groups, override: Override) -> str:
    """Returns the reason why an option cannot be chosen, or an empty string."""
    group, value, text = override.key_or_group, override.value(), _value_text(override)
    if override.is_delete():
        return ""
    options = groups.options(group)
    for option in value if isinstance(value, list) else [value]:
        if str(option) not in options:
            return f"there is no {group} {text}{did_you_mean(str(option), options)}"
    is_chosen = group in groups.join([]).hydra.runtime.choices
    if override.is_add() and is_chosen:
        return f"{group} is chosen already; write {group}={text}"
    if not override.is_add() and not override.is_force_add() and not is_chosen:
        return f"is added, not replaced; write +{override.get_key_element()}={text}"
    return ""


def _value_error(groups: Groups, override: Override, previous: list[str]) -> str:
    """Returns the reason why an override does not fit the tree of the previous ones, or an empty string."""
    try:
        groups.join([*previous, str(override.input_line)])
    except CompositionError as error:
        is_choice = bool(groups.options(override.key_or_group))
        return ("" if is_choice else _key_error(groups, override, groups.join(previous))) or str(error)
    return ""


def _key_error(groups: Groups, override: Override, tree: DictConfig) -> str:
    """Returns what is wrong with an override's key, or an empty string."""
    parent, _, leaf = override.key_or_group.rpartition(".")
    while parent and not isinstance(_select(tree, parent), DictConfig):
        parent, _, leaf = parent.rpartition(".")
    node = _select(tree, parent)
    path = f"{parent}.{leaf}" if parent else leaf
    keys = [str(key) for key in node if key not in ("hydra", "_target_")]
    if path != override.key_or_group:
        return f"{path} has no settings below it" if leaf in keys else f"there is no {path}{_hint(leaf, keys, parent)}"
    if override.is_add():
        return f"is set already; write {path}={_value_text(override)}" if leaf in keys else ""
    if leaf in keys:
        return ""
    arguments = _target_arguments(node)
    if leaf in arguments:
        return f"is not in the YAML, but can be added; write +{override.input_line}"
    if parent:
        return f"there is no {path}{_hint(leaf, [*keys, *arguments], parent)}"
    return f"there is no {path}{suggest_setting(groups, tree, leaf, _value_text(override))}"


def suggest_setting(groups: Groups, tree: DictConfig, name: str, value: str) -> str:
    """Returns a hint for a name that is no group or setting: a similar one, a group with this option, or settings.

    Args:
        groups: the groups.
        tree: the composed tree.
        name: such as `optimiser`, `lr`, `steps`.
        value: the text after `=`.
    """
    names = [*groups.names(), *(str(key) for key in tree if key != "hydra")]
    keys = list(_leaf_keys(tree))
    leaves = {key.rpartition(".")[2] for key in keys}
    matches = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
    if not matches and value != "none":
        matches = [f"{group}={value}" for group in groups.names() if value in groups.options(group)]
    if not matches:
        containing = [leaf for leaf in leaves if name in leaf.split("_")]
        similar = difflib.get_close_matches(name, containing or [*names, *leaves], n=1)
        matches = [key for key in (*names, *keys) if key.rpartition(".")[2] in similar]
    return f" (did you mean {' or '.join(matches[:3])}?)" if matches else ""


def _leaf_keys(tree: DictConfig, path: str = "") -> Iterator[str]:
    """Yields the full keys of all settings of the run."""
    for key in map(str, tree):
        node = None if OmegaConf.is_interpolation(tree, key) or OmegaConf.is_missing(tree, key) else tree[key]
        if isinstance(node, DictConfig):
            if path or key not in ("hydra", "module"):
                yield from _leaf_keys(node, f"{path}{key}.")
        elif key != "_target_":
            yield f"{path}{key}"


def _select(tree: DictConfig, path: str) -> Any:
    try:
        return OmegaConf.select(tree, path, throw_on_missing=False) if path else tree
    except OmegaConfBaseException:
        return None


def _target_arguments(node: DictConfig) -> list[str]:
    try:
        return list(signature(str(node["_target_"])).parameters) if "_target_" in node else []
    except LookupError:
        return []


def _hint(leaf: str, candidates: list[str], parent: str) -> str:
    hint = did_you_mean(leaf, candidates)
    return hint.replace("did you mean ", f"did you mean {parent}.") if parent else hint


def _value_text(override: Override) -> str:
    return str(override.input_line).partition("=")[2]


# --- a sweep ----------------------------------------------------------------------------------------------------------


def find_mode(groups: Groups, overrides: Sequence[str]) -> RunMode | None:
    """Returns `hydra.mode`: a file that sets it to MULTIRUN makes a command a sweep without -m."""
    is_sweep = any(len(values_of(groups, text)) > 1 for text in overrides)
    try:
        tree = groups.join(next(sweep_points(groups, overrides))) if is_sweep else groups.load(overrides)
    except CompositionError:
        return None
    mode: RunMode | None = tree.hydra.mode
    return mode


def sweep_points(groups: Groups, overrides: Sequence[str]) -> Iterator[list[str]]:
    """Yields the overrides of points to check: every value of each swept setting, the others at their first value."""
    values = [values_of(groups, text) for text in with_params(groups, overrides)]
    first = [v[0] for v in values]
    others = ([*first[:i], other, *first[i + 1 :]] for i, v in enumerate(values) for other in v[1:])
    yield from itertools.islice(itertools.chain([first], others), MAX_POINTS)


def with_params(groups: Groups, overrides: Sequence[str]) -> list[str]:
    """Returns the overrides, and those of `hydra.sweeper.params` in a file that the command does not set.

    In this order, so that an option that a study chooses takes precedence over the study's own values.
    """
    try:
        first = [values_of(groups, text)[0] for text in overrides]
        params = OmegaConf.select(groups.join(first), "hydra.sweeper.params") or {}
    except CompositionError:
        return list(overrides)  # explained where the point is checked
    typed = {text.lstrip("+~").partition("=")[0] for text in overrides}
    return [*overrides, *(f"{key}={value}" for key, value in params.items() if key.lstrip("+") not in typed)]


def values_of(groups: Groups, text: str) -> list[str]:
    """Returns one override for each value of a swept override."""
    try:
        override = groups.parse(text)
    except HydraException:
        return [text]
    if not override.is_sweep_override():
        return [text]
    key = override.get_key_element()
    if override.is_discrete_sweep():
        return [f"{key}={value}" for value in override.sweep_string_iterator()] or [text]
    interval: Any = override.value()  # represented by its lower end
    return [f"{key}={interval.start}"]
