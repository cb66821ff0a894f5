"""CPU seconds to the answer of a command that starts no run, and to the first step of a run."""

import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import commands, subjects
from bench.figures import Figure
from bench.run import first
from bench.runner import ROOT
from tinv.runs.text_table import align_columns

COMMANDS = {"--help": ("--help",), "config error": ("+experiment=cat_toy", "optimzer.lr=1")}


def run(options: Namespace) -> dict[str, Any]:
    """Alternate the commands, on the toybox."""
    with TemporaryDirectory() as folder:
        folder = Path(folder)
        subject = subjects.prepare("toybox", folder, tiny=options.tiny)
        words = (*commands.OURS, *options.settings)
        commands_to_run = [commands.tinv_command("first step, tinv", subject, folder / "tinv", *words, steps=1)]
        if options.reference:
            flags = (folder / "theirs", *commands.DEFAULT_FLAGS)
            commands_to_run.append(
                commands.script_command("first step, reference", options.reference, subject, *flags, steps=1)
            )
        times: dict[str, list[float]] = {
            name: [] for name in (*COMMANDS, *(command.name for command in commands_to_run))
        }
        for turn in range(options.rounds):
            for name, overrides in COMMANDS.items():
                times[name].append(answer_seconds(overrides, folder))
            for command in commands_to_run[:: 1 if turn % 2 else -1]:
                times[command.name].append(first(command)[1])
    results = {name: Figure.of(seconds) for name, seconds in times.items()}
    print(f"\nstart: {subjects.TITLES['toybox']}")
    print(align_columns([("", "CPU s"), *results.items()], align_right=True))
    return {name: figure.as_json() for name, figure in results.items()}


def answer_seconds(words: Sequence[str], folder: Path) -> float:
    """CPU seconds until `train.py` has answered a command that starts no run."""
    command, nowhere = [sys.executable, str(ROOT / "train.py"), *words], subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=folder, stdout=nowhere, stderr=nowhere)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime
