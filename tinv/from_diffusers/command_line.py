"""Parses a command of diffusers: `accelerate launch textual_inversion.py --train_data_dir=./cat ...`."""

import argparse
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from string import Template
from typing import Any, NoReturn

from tinv.errors import UserError
from tinv.from_diffusers.flags import FLAGS
from tinv.from_diffusers.scripts import FILE_NAMES, SCRIPTS, DiffusersCommand, Flag, Script

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_CONTINUATION = re.compile(r"[\\`^][ \t]*\r?\n")
_SHELL_OPERATORS = {"|", "&", "&&", ";", ">", ">>", "2>&1"}


def read_command(text: str) -> list[str]:
    """Returns the words of the first command in a text (a terminal's, a script's or a web page's), variables expanded.

    Raises:
        UserError: there is no command, a quote is not closed, or a variable is not set.
    """
    variables: dict[str, str] = {}
    for line in _CONTINUATION.sub(" ", text).splitlines():
        try:
            words = shlex.split(line.strip().removeprefix("$ ").removeprefix("!"), comments=True)
        except ValueError as error:
            raise UserError(f"cannot parse this line ({error}): {line.strip()[:80]}. Close its quotes.") from None
        words = words[1:] if words[:1] == ["export"] else words
        words = [Template(word).safe_substitute(variables) for word in words]
        if words and all(_ASSIGNMENT.fullmatch(word) for word in words):
            variables |= dict(word.split("=", 1) for word in words)
        elif any(word.startswith("--") for word in words):
            for word in words:
                if unset := re.search(r"\$\{?([A-Za-z_]\w*)", word):
                    raise UserError(
                        f"${unset[1]} is not set. Write its value, or add {unset[1]}=... before the command."
                    )
            return words[: next((i for i, word in enumerate(words) if word in _SHELL_OPERATORS), None)]
    raise UserError("no command of diffusers' scripts found. Paste one such as textual_inversion.py --seed=0 ...")


def parse_command(words: Sequence[str]) -> DiffusersCommand:
    """Parses a command.

    Args:
        words: as a shell passes them.

    Raises:
        UserError: the command of another script, a missing required flag, or an invalid value.
    """
    pairs = zip(words, [*words[1:], "x"], strict=False)
    words = [f"{word}=" if word == "--placeholder_token" and not value.strip() else word for word, value in pairs]
    words = [word for word in words if word.strip()]
    scripts = [i for i, word in enumerate(words) if word.endswith(".py")]
    flags = [i for i, word in enumerate(words) if word.startswith("--")]
    end = scripts[0] if scripts else min(flags, default=len(words))
    name = re.split(r"[/\\]", words[end])[-1] if scripts else ""
    head, arguments = words[:end], words[end + len(scripts[:1]) :]
    command = parse_flags(_candidates(name, arguments), arguments)
    if missing := [f"--{f.name}" for f in flags_of(command.script) if f.required and command.values[f.name] is None]:
        raise UserError(f"{FILE_NAMES[command.script]} requires {', '.join(missing)}. Add the missing flags.")
    return replace(
        command,
        environment=tuple(word for word in head if _ASSIGNMENT.fullmatch(word)),
        launcher=_launcher_flags(head),
        is_guess=name not in FILE_NAMES.values(),
    )


def parse_flags(candidates: Sequence[Script], words: Sequence[str]) -> DiffusersCommand:
    """Parses flags as the first of the scripts that has the most of them.

    Raises:
        UserError: a value is invalid.
    """
    script = min(candidates, key=lambda script: len(_parse(script, words)[1]))
    values, unknown = _parse(script, words)
    return DiffusersCommand(
        script,
        values,
        typed=frozenset(_parse(script, words, default=argparse.SUPPRESS)[0]),
        unknown=tuple(dict.fromkeys(word.partition("=")[0] for word in unknown if word.startswith("-"))),
    )


def flags_of(script: Script) -> list[Flag]:
    """Returns the flags of a script."""
    return [flag for flag in FLAGS if script in flag.scripts]


def _candidates(name: str, words: Sequence[str]) -> list[Script]:
    """Returns the scripts that a file name may mean; without a hint in it, `xl` in the model's name puts SDXL first."""
    if name.startswith("train_"):
        raise UserError(
            f"{name} also trains model weights. See docs/from-diffusers.md for its flags about the embedding."
        )
    if matches := [script for script in SCRIPTS if FILE_NAMES[script] == name]:
        return matches
    model = _parse("sd", words)[0]["pretrained_model_name_or_path"] or ""
    return sorted(SCRIPTS, key=lambda script: script != "sdxl" or "xl" not in model.lower())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message.removeprefix('argument ')}. Correct the command; the script refuses it, too.")


def _parse(script: Script, words: Sequence[str], **common: Any) -> tuple[Mapping[str, Any], list[str]]:
    """Returns the flags' values, with the abbreviations that the script allows, and the unknown words."""
    parser = _Parser(add_help=False)
    for flag in flags_of(script):
        options: dict[str, Any] = {"default": flag.default_of(script), **common}
        if flag.kind is bool:
            parser.add_argument(f"--{flag.name}", action="store_true", **options)
        else:
            parser.add_argument(f"--{flag.name}", type=flag.kind, choices=flag.choices, **options)
    values, unknown = parser.parse_known_args(words)
    return vars(values), unknown


def _launcher_flags(head: Sequence[str]) -> dict[str, str | None]:
    """Returns the flags before the script's name."""
    flags: dict[str, str | None] = {}
    for word, following in zip(head, [*head[1:], ""]):
        if word.startswith("-"):
            name, equals, value = word.lstrip("-").partition("=")
            flags[name] = value if equals else None if following.startswith("-") or not following else following
    return flags
