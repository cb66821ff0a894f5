"""The tables of docs/from-diffusers.md: `python -m tinv.from_diffusers.table` prints them."""

from tinv.from_diffusers.command_line import flags_of
from tinv.from_diffusers.flag import SCRIPTS, Flag, Note, Pasted, Script
from tinv.from_diffusers.flags import SECTIONS
from tinv.from_diffusers.overrides import assign

SHORT: dict[Script, str] = {"sd": "SD", "sdxl": "XL", "flax": "Flax", "multi_token": "MT"}
HEADINGS = ("flag", "in", "default", "in tinv", "")


def tables() -> str:
    """Markdown: a heading and a table for each section."""
    return "\n".join(f"### {title}\n\n{table(flags)}" for title, flags in SECTIONS.items())


def table(flags: tuple[Flag, ...]) -> str:
    """Markdown: a row for each flag."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *map(row, flags)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def row(flag: Flag) -> tuple[str, ...]:
    """An example of the flag, which scripts have it, its default there, the settings here, and what is to be said."""
    written = flag.name if flag.kind is bool else assign(flag.name, flag.example)
    scripts = " ".join(SHORT[script] for script in SCRIPTS if script in flag.scripts)
    settings = " ".join(f"`{setting}`" for setting in settings_of(flag)) or "–"
    return f"`--{written}`", scripts, _default(flag), settings, " ".join(filter(None, (flag.differs, flag.remark)))


def settings_of(flag: Flag) -> list[str]:
    """The settings that the flag's example comes to, with those of the flags that it needs beside it."""
    values = {
        other.name: other.example if other.required else other.default_of(flag.scripts[0]) for other in _all(flag)
    }
    pasted = Pasted(flag.scripts[0], {**values, **flag.beside, flag.name: flag.example})
    shown = [other for other in _all(flag) if other is flag or other.name in flag.beside]
    words = [word for other in shown for word in other.rule(pasted.values[other.name], pasted)]
    return list(dict.fromkeys(word for word in words if not isinstance(word, Note)))


def _all(flag: Flag) -> list[Flag]:
    return flags_of(flag.scripts[0])


def _default(flag: Flag) -> str:
    if flag.required:
        return "required"
    if flag.kind is bool:
        return "off"
    return "none" if flag.default is None else f"`{flag.default}`"


if __name__ == "__main__":
    print(tables(), end="")
