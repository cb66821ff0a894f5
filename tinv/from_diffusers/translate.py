"""Translates a command of diffusers into the command of tinv with the same effect."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from tinv.config.compose import Groups
from tinv.config.secrets import is_secret_override
from tinv.config.validate import CONF_DIR
from tinv.errors import did_you_mean
from tinv.from_diffusers.command_line import flags_of
from tinv.from_diffusers.overrides import assign, format_command
from tinv.from_diffusers.scripts import FILE_NAMES, DiffusersCommand, Note

ALWAYS = ("data.flip=true",)
"""What the scripts do without a flag: they mirror every image with probability 0.5."""
ALWAYS_IN_FLAX = ("callbacks.export.formats=[diffusers,pipeline]",)
"""What only the Flax script does without a flag: it writes the full pipeline."""
PROCESSES = ("num_processes", "nproc_per_node", "nproc-per-node")
"""The launchers' names for the number of processes."""


@dataclass(frozen=True)
class Translation:
    """A command of tinv."""

    overrides: tuple[str, ...]
    notes: tuple[str, ...]
    """What differs, one sentence each."""
    environment: tuple[str, ...] = ()

    def __str__(self) -> str:
        is_installed = CONF_DIR.parent == Path(__file__).resolve().parent.parent
        program = "tinv-train" if is_installed else "python train.py"
        return format_command(" ".join([*self.environment, program]), self.overrides)


def translate(command: DiffusersCommand, groups: Groups) -> Translation:
    """Returns the overrides with the script's effect, defaults of the script included, without defaults of tinv."""
    overrides, notes = [*_process_overrides(command)], [*_command_notes(command)]
    for flag in flags_of(command.script):
        for text in flag.overrides(command.values[flag.name], command):
            if isinstance(text, Note):
                notes.append(f"--{flag.name}: {text}")
            else:
                overrides.append(text)
        if flag.differs and flag.name in command.typed:
            notes.append(f"--{flag.name}: {flag.differs}")
    overrides += [*ALWAYS, *(ALWAYS_IN_FLAX if command.script == "flax" else ())]
    public = tuple(text for text in command.environment if not is_secret_override(text))
    if hidden := [text.partition("=")[0] for text in command.environment if text not in public]:
        notes.append(f"{', '.join(hidden)}: left out, because a command must not hold a secret; export it instead")
    return Translation(tuple(without_defaults(overrides, groups)), tuple(notes), public)


def without_defaults(overrides: Sequence[str], groups: Groups) -> list[str]:
    """Returns each override once, choices of groups first, without those that change nothing."""
    parsed = {override: groups.parse(override) for override in overrides}
    defaults = groups.join([]).hydra.runtime.choices
    chosen = [text for text, override in parsed.items() if groups.options(override.key_or_group)]
    tree = groups.join(chosen)
    choices = [text for text in chosen if text != f"{(group := parsed[text].key_or_group)}={defaults.get(group)}"]
    values = [
        text
        for text, override in parsed.items()
        if text not in chosen and (override.is_delete() or override.value() != _value(tree, override.key_or_group))
    ]
    return choices + values


def _value(tree: DictConfig, key: str) -> object:
    """Returns the value of a key; without one the tree itself, which equals no value."""
    value = OmegaConf.select(tree, key, default=tree, throw_on_missing=False)
    return OmegaConf.to_container(value) if isinstance(value, ListConfig) else value


def _process_overrides(command: DiffusersCommand) -> Iterator[str]:
    """Yields the overrides for several processes, if the launcher starts several."""
    launcher = command.launcher
    count = next((launcher[name] for name in PROCESSES if name in launcher), None)
    if "multi_gpu" in launcher or count not in (None, "1"):
        yield "trainer=ddp"
    if count is not None and count.isdecimal() and count != "1":
        yield assign("trainer.devices", int(count))


def _command_notes(command: DiffusersCommand) -> Iterator[str]:
    script = FILE_NAMES[command.script]
    if command.is_guess:
        yield f"read as a command of {script}; if it is for another script, write its name before the flags"
    for name in command.unknown:
        hint = did_you_mean(name, [f"--{flag.name}" for flag in flags_of(command.script)])
        yield f"{name}: {script} has no such flag{hint if 'mean' in hint else ''}; left out"
    for name in command.launcher:
        if name == "mixed_precision":
            yield "--mixed_precision of the launcher: the script's own flag wins, in tinv as well; left out"
        elif name not in (*PROCESSES, "multi_gpu"):
            yield f"--{name} of the launcher: left out; choose devices with the trainer group"
    if "trainer=ddp" in _process_overrides(command):
        yield "trainer=ddp uses GPUs; without one, add trainer.accelerator=cpu trainer.precision=32-true"
    if command.script == "flax":
        yield "the Flax script uses all devices: trainer=tpu for TPUs, trainer=ddp for several GPUs"
