"""Tables of docs/from-diffusers.md: `python -m tinv.from_diffusers.table` prints them."""

from tinv.from_diffusers.command_line import flags_of
from tinv.from_diffusers.flags import SECTIONS
from tinv.from_diffusers.overrides import assign
from tinv.from_diffusers.scripts import SCRIPTS, DiffusersCommand, Flag, Note, Script

SHORT: dict[Script, str] = {"sd": "SD", "sdxl": "XL", "flax": "Flax", "multi_token": "MT"}
HEADINGS = ("flag", "in", "default", "in tinv", "remark")


def tables() -> str:
    """Returns Markdown: a heading and a table for each section."""
    return "\n".join(f"### {title}\n\n{table(flags)}" for title, flags in SECTIONS.items())


def table(flags: tuple[Flag, ...]) -> str:
    """Returns Markdown with a row for each flag."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *map(_row, flags)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _row(flag: Flag) -> tuple[str, ...]:
    example = flag.name if flag.kind is bool else assign(flag.name, flag.example)
    scripts = " ".join(SHORT[script] for script in SCRIPTS if script in flag.scripts)
    overrides = " ".join(f"`{override}`" for override in _example_overrides(flag)) or "–"
    return f"`--{example}`", scripts, _default(flag), overrides, flag.differs or flag.remark


def _example_overrides(flag: Flag) -> list[str]:
    """Returns the overrides of the flag's example and of the flags that it requires."""
    script = flag.scripts[0]
    values = {other.name: other.example if other.required else other.default_of(script) for other in flags_of(script)}
    command = DiffusersCommand(script, {**values, **flag.requires, flag.name: flag.example})
    relevant = [other for other in flags_of(script) if other is flag or other.name in flag.requires]
    texts = [text for other in relevant for text in other.overrides(command.values[other.name], command)]
    return list(dict.fromkeys(text for text in texts if not isinstance(text, Note)))


def _default(flag: Flag) -> str:
    if flag.required:
        return "required"
    if flag.kind is bool:
        return "off"
    deviating = [f"; {SHORT[script]} `{default}`" for script, default in flag.default_in.items()]
    return "".join(["none" if flag.default is None else f"`{flag.default}`", *deviating])


if __name__ == "__main__":
    print(tables(), end="")
