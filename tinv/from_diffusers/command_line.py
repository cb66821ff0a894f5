"""Understands a pasted command: `accelerate launch textual_inversion.py --train_data_dir=./cat ...`."""

import argparse
import re
import shlex
from collections.abc import Mapping, Sequence
from string import Template
from typing import Any, NoReturn

from tinv.errors import UserError
from tinv.from_diffusers.flag import FILE_NAMES, SCRIPTS, Flag, Pasted, Script
from tinv.from_diffusers.flags import FLAGS

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_CONTINUED = re.compile(r"[\\`^][ \t]*\r?\n")
_SHELL_GOES_ON = {"|", "&", "&&", ";", ">", ">>", "2>&1"}


def read(text: str) -> list[str]:
    """The words of the first command in a text, its variables filled in: a terminal's, a script's or a web page's.

    Raises:
        UserError: there is none, a quote is not closed, or a variable is set nowhere.
    """
    variables: dict[str, str] = {}
    for line in _CONTINUED.sub(" ", text).splitlines():
        try:
            words = shlex.split(line.strip().removeprefix("$ ").removeprefix("!"), comments=True)
        except ValueError as error:
            raise UserError(f"this line cannot be read ({error}): {line.strip()[:80]}; close its quotes") from None
        words = words[1:] if words[:1] == ["export"] else words
        words = [Template(word).safe_substitute(variables) for word in words]
        if words and all(_ASSIGNMENT.fullmatch(word) for word in words):
            variables |= dict(word.split("=", 1) for word in words)
        elif any(word.startswith("--") for word in words):
            for word in words:
                if unset := re.search(r"\$\{?([A-Za-z_]\w*)", word):
                    raise UserError(f"${unset[1]} is set nowhere; write its value, or put {unset[1]}=... above")
            return words[: next((i for i, word in enumerate(words) if word in _SHELL_GOES_ON), None)]
    raise UserError("there is no command of diffusers' in this; paste one such as textual_inversion.py --seed=0 ...")


def understand(words: Sequence[str]) -> Pasted:
    """What a command says.

    Args:
        words: as a shell would give them.

    Raises:
        UserError: it is the command of another script, a required flag is missing, or a value is none.
    """
    words = [word for word in words if word.strip()]
    scripts = [i for i, word in enumerate(words) if word.endswith(".py")]
    flags = [i for i, word in enumerate(words) if word.startswith("--")]
    end = scripts[0] if scripts else min(flags, default=len(words))
    name = re.split(r"[/\\]", words[end])[-1] if scripts else ""
    head, rest = words[:end], words[end + len(scripts[:1]) :]
    script = min(_candidates(name, rest), key=lambda script: len(_parse(script, rest)[1]))  # the first of equals
    values, unknown = _parse(script, rest)
    if missing := [f"--{flag.name}" for flag in flags_of(script) if flag.required and values[flag.name] is None]:
        raise UserError(f"{FILE_NAMES[script]} needs {', '.join(missing)}; add the missing")
    return Pasted(
        script=script,
        values=values,
        given=frozenset(_parse(script, rest, default=argparse.SUPPRESS)[0]),
        environment=tuple(word for word in head if _ASSIGNMENT.fullmatch(word)),
        launcher=_launcher(head),
        unknown=tuple(dict.fromkeys(word.partition("=")[0] for word in unknown if word.startswith("-"))),
        is_guess=name not in FILE_NAMES.values(),
    )


def flags_of(script: Script) -> list[Flag]:
    """The flags that a script has."""
    return [flag for flag in FLAGS if script in flag.scripts]


def _candidates(name: str, words: Sequence[str]) -> list[Script]:
    """Which scripts a file's name may mean; where it tells nothing, `xl` in the model's name comes first."""
    if name.startswith("train_"):
        raise UserError(
            f"{name} trains more than a word; docs/from-diffusers.md has those of its flags that concern it"
        )
    if named := [script for script in SCRIPTS if FILE_NAMES[script] == name]:
        return named
    model = _parse("sd", words)[0]["pretrained_model_name_or_path"] or ""
    return sorted(SCRIPTS, key=lambda script: script != "sdxl" or "xl" not in model.lower())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message.removeprefix('argument ')}; mend the command, the script would refuse it, too")


def _parse(script: Script, words: Sequence[str], **everywhere: Any) -> tuple[Mapping[str, Any], list[str]]:
    """The flags' values, abbreviations allowed as the script allows them, and what it would not know."""
    parser = _Parser(add_help=False)
    for flag in flags_of(script):
        options: dict[str, Any] = {"default": flag.default_of(script), **everywhere}
        if flag.kind is bool:
            parser.add_argument(f"--{flag.name}", action="store_true", **options)
        else:
            parser.add_argument(f"--{flag.name}", type=flag.kind, choices=flag.choices, **options)
    values, unknown = parser.parse_known_args(words)
    return vars(values), unknown


def _launcher(head: Sequence[str]) -> dict[str, str | None]:
    """The flags in front of the script's name."""
    found: dict[str, str | None] = {}
    for word, after in zip(head, [*head[1:], ""]):
        if word.startswith("-"):
            name, equals, value = word.lstrip("-").partition("=")
            found[name] = value if equals else None if after.startswith("-") or not after else after
    return found
