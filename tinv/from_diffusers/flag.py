"""What a flag of diffusers' scripts is, and what is known of a command that uses them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Script = Literal["sd", "sdxl", "flax", "multi_token"]
SCRIPTS: tuple[Script, ...] = get_args(Script)
TORCH: tuple[Script, ...] = ("sd", "sdxl", "multi_token")
"""Those that are not Flax's."""
FILE_NAMES: Mapping[Script, str] = {
    "sd": "textual_inversion.py",
    "sdxl": "textual_inversion_sdxl.py",
    "flax": "textual_inversion_flax.py",
    "multi_token": "textual_inversion.py",
}
"""Two scripts share a name: the second is the research project `multi_token_textual_inversion`."""


class Note(str):
    """Something to tell the user about a flag, among the settings that a rule gives."""


@dataclass(frozen=True)
class Pasted:
    """A command of diffusers', understood."""

    script: Script
    values: Mapping[str, Any]
    """Every flag of the script, given or not."""
    given: frozenset[str] = frozenset()
    """The flags that were written."""
    environment: tuple[str, ...] = ()
    """`NAME=value` in front of the command."""
    launcher: Mapping[str, str | None] = field(default_factory=dict)
    """The flags of `accelerate launch` or `torchrun`, in front of the script's name."""
    unknown: tuple[str, ...] = ()
    """Flags that the script does not have; never their values, which may be secrets."""
    is_guess: bool = False
    """No script was named: its flags, or the model's name, told which one it is."""


Rule = Callable[[Any, Pasted], Iterator[str]]
"""A flag's value -> the settings that do the same, and notes."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One flag, what it does in tinv, and what docs/from-diffusers.md says of it."""

    name: str
    scripts: tuple[Script, ...]
    """Which scripts have it."""
    kind: type = str
    """`int`, `float`, `str`, or `bool` for a switch."""
    default: Any = None
    default_in: Mapping[Script, Any] = field(default_factory=dict)
    """Where a script's default is another."""
    required: bool = False
    choices: tuple[str, ...] | None = None
    example: Any = True
    """A value to show; a switch is shown switched on."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """Other flags without which it does nothing."""
    rule: Rule
    differs: str = ""
    """Why there is no setting, or what it means here: told to whoever gives the flag."""
    remark: str = ""
    """What else the documentation says."""

    def default_of(self, script: Script) -> Any:
        """The value where the flag is not given."""
        return self.default_in.get(script, False if self.kind is bool else self.default)
