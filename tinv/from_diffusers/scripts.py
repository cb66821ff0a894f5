"""Types: the textual-inversion scripts of diffusers, a flag of theirs, and a parsed command."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from tinv.from_diffusers.overrides import assign

Script = Literal["sd", "sdxl", "flax", "multi_token"]
SCRIPTS: tuple[Script, ...] = get_args(Script)
TORCH: tuple[Script, ...] = ("sd", "sdxl", "multi_token")
"""All scripts but the Flax one."""
FILE_NAMES: Mapping[Script, str] = {
    "sd": "textual_inversion.py",
    "sdxl": "textual_inversion_sdxl.py",
    "flax": "textual_inversion_flax.py",
    "multi_token": "textual_inversion.py",
}
"""Two scripts share a name: `multi_token` is the research project `multi_token_textual_inversion`."""


class Note(str):
    """A message about a flag, among the overrides that a rule yields."""


@dataclass(frozen=True)
class DiffusersCommand:
    """A parsed command of one of diffusers' scripts."""

    script: Script
    values: Mapping[str, Any]
    """The value of every flag of the script, defaults included."""
    typed: frozenset[str] = frozenset()
    """The flags that the command contains."""
    environment: tuple[str, ...] = ()
    """`NAME=value` before the command."""
    launcher: Mapping[str, str | None] = field(default_factory=dict)
    """The flags of `accelerate launch` or `torchrun`."""
    unknown: tuple[str, ...] = ()
    """Flags that the script does not have, without their values, which may be secrets."""
    is_guess: bool = False
    """Whether the script was inferred from the flags or the model's name."""


Rule = Callable[[Any, DiffusersCommand], Iterator[str]]
"""(value of a flag, its command) -> overrides and notes."""


@dataclass(frozen=True)
class Flag:
    """A flag of diffusers' scripts and its meaning in tinv."""

    name: str
    kind: type
    """`int`, `float`, `str`, or `bool` for a switch."""
    scripts: tuple[Script, ...]
    """The scripts that have the flag."""
    default: Any
    example: Any
    setting: str | Rule | None
    """A key that takes the value; for a switch, an override that it stands for; a rule; or None for no equivalent."""
    remark: str = field(default="", kw_only=True)
    """A remark for the documentation."""
    differs: str = field(default="", kw_only=True)
    """What differs in tinv: a note for users of the flag, and a remark for the documentation."""
    default_in: Mapping[Script, Any] = field(default_factory=dict, kw_only=True)
    """Defaults of scripts that deviate from `default`."""
    required: bool = field(default=False, kw_only=True)
    choices: tuple[str, ...] | None = field(default=None, kw_only=True)
    requires: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    """Other flags without which this one has no effect."""

    def default_of(self, script: Script) -> Any:
        """Returns the script's default."""
        return self.default_in.get(script, self.default)

    def overrides(self, value: Any, command: DiffusersCommand) -> Iterator[str]:
        """Yields the overrides that a value of the flag stands for, and notes."""
        if callable(self.setting):
            yield from self.setting(value, command)
        elif self.setting is not None and self.kind is not bool:
            yield assign(self.setting, value)
        elif self.setting is not None and value:
            yield self.setting
