"""Answers options that train.py does not have: flags of diffusers' scripts, and settings with dashes."""

import shlex
from collections.abc import Sequence

from tinv.config.compose import CompositionError, Groups
from tinv.config.override_errors import suggest_setting
from tinv.errors import UserError
from tinv.from_diffusers.command_line import parse_flags
from tinv.from_diffusers.flags import FLAGS
from tinv.from_diffusers.scripts import SCRIPTS, Note


def explain_options(groups: Groups, unknown: Sequence[str], words: Sequence[str]) -> str:
    """Returns a message with the override to type for each unknown option.

    Args:
        groups: the groups.
        unknown: the unknown options.
        words: the command line.
    """
    try:
        translations = _translate_flags(words)
    except UserError as error:
        return str(error)
    lines = []
    for option in dict.fromkeys(word for word in unknown if word.startswith("-")):
        name, _, value = option.lstrip("-").partition("=")
        lines.append(f"{option}: {translations.get(name) or _suggest(groups, name, value)}")
    more = ["tinv from-diffusers translates a whole command of diffusers' scripts."] if translations else []
    return "\n".join(["settings have no dashes:", *(f"  {line}" for line in lines), *more])


def _translate_flags(words: Sequence[str]) -> dict[str, str]:
    """Returns what to write instead of each flag of diffusers' scripts.

    Raises:
        UserError: a flag's value is invalid.
    """
    kinds = {flag.name: flag.kind for flag in FLAGS}
    flags: list[str] = []
    for word, following in zip(words, [*words[1:], ""]):
        name, equals, _ = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in kinds:
            flags += [word] if equals or kinds[name] is bool else [word, following]
    command = parse_flags(SCRIPTS, flags)
    translations = {}
    for flag in FLAGS:
        if flag.name in command.typed:
            texts = flag.overrides(command.values[flag.name], command)
            overrides = shlex.join(text for text in texts if not isinstance(text, Note))
            translations[flag.name] = f"write {overrides}" if overrides else flag.differs or "has no effect here"
    return translations


def _suggest(groups: Groups, name: str, value: str) -> str:
    override = f"{name}={value}"
    try:
        groups.join([override])
    except CompositionError:
        return f"there is no {name}{suggest_setting(groups, groups.join([]), name, value)}"
    return f"write {shlex.quote(override)}"
