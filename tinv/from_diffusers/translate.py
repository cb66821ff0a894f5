"""A command of diffusers' -> the command of tinv's that does the same, and what to know about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from tinv.config.compose import Groups
from tinv.config.problems import did_you_mean
from tinv.config.validate import CONF_DIR
from tinv.from_diffusers.command_line import flags_of
from tinv.from_diffusers.flag import FILE_NAMES, Note, Pasted
from tinv.from_diffusers.overrides import assign, command

ALWAYS = ("data.flip=true",)
"""What the scripts do without a flag for it: every picture is mirrored half of the time."""
PROCESSES = ("num_processes", "nproc_per_node", "nproc-per-node")
"""What launchers call the number of processes."""


@dataclass(frozen=True)
class Translation:
    """A command of tinv's."""

    overrides: tuple[str, ...]
    notes: tuple[str, ...]
    """What is different, a sentence each."""
    environment: tuple[str, ...] = ()

    def __str__(self) -> str:
        is_installed = CONF_DIR.parent == Path(__file__).resolve().parent.parent
        program = "tinv-train" if is_installed else "python train.py"
        return command(" ".join([*self.environment, program]), self.overrides)


def translate(pasted: Pasted, groups: Groups) -> Translation:
    """The settings that do what the script does, with its own defaults; those that tinv has anyway are left out.

    Args:
        pasted: the command.
        groups: tinv's, which know what is set anyway.
    """
    said = [*_processes(pasted)]
    notes = [*_about_the_command(pasted)]
    for flag in flags_of(pasted.script):
        for word in flag.rule(pasted.values[flag.name], pasted):
            if isinstance(word, Note):
                notes.append(f"--{flag.name}: {word}")
            else:
                said.append(word)
        if flag.differs and flag.name in pasted.given:
            notes.append(f"--{flag.name}: {flag.differs}")
    return Translation(tuple(without_the_usual([*said, *ALWAYS], groups)), tuple(notes), pasted.environment)


def without_the_usual(overrides: Sequence[str], groups: Groups) -> list[str]:
    """Each setting once, options first, without what the options and the values are anyway."""
    parsed = {override: groups.parse(override) for override in overrides}
    usual = groups.join([]).hydra.runtime.choices
    chosen = [text for text, override in parsed.items() if groups.options(override.key_or_group)]
    tree = groups.join(chosen)
    options = [text for text in chosen if text != f"{(group := parsed[text].key_or_group)}={usual.get(group)}"]
    values = [
        text
        for text, override in parsed.items()
        if text not in chosen and (override.is_delete() or override.value() != _value(tree, override.key_or_group))
    ]
    return options + values


def _value(tree: DictConfig, key: str) -> object:
    """What is set there; the tree itself, which equals no value, if nothing is."""
    value = OmegaConf.select(tree, key, default=tree, throw_on_missing=False)
    return OmegaConf.to_container(value) if isinstance(value, ListConfig) else value


def _processes(pasted: Pasted) -> Iterator[str]:
    """Several processes, if the launcher was told so."""
    count = next((pasted.launcher[name] for name in PROCESSES if name in pasted.launcher), None)
    if "multi_gpu" in pasted.launcher or count not in (None, "1"):
        yield "trainer=ddp"
    if count is not None and count.isdecimal() and count != "1":
        yield assign("trainer.devices", int(count))


def _about_the_command(pasted: Pasted) -> Iterator[str]:
    script = FILE_NAMES[pasted.script]
    if pasted.is_guess:
        yield f"taken for a command of {script}; if it is another script's, write its name in front"
    for name in pasted.unknown:
        hint = did_you_mean(name, [f"--{flag.name}" for flag in flags_of(pasted.script)])
        yield f"{name}: {script} has no such flag{hint if 'mean' in hint else ''}; left out"
    for name in pasted.launcher:
        if name == "mixed_precision":
            yield "--mixed_precision of the launcher: the script's own flag decides, there and here; left out"
        elif name not in (*PROCESSES, "multi_gpu"):
            yield f"--{name} of the launcher: left out; the trainer group says where a run takes place"
    if pasted.script == "flax":
        yield "the Flax script takes every device; trainer=tpu is for TPUs, trainer=ddp for several GPUs"
