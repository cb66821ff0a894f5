"""How long a start takes, in seconds of the processor: what is said without torch, and the way to the first step."""

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

SAID = {"--help": ("--help",), "config error": ("+experiment=cat_toy", "optimzer.lr=1")}


def run(options: Namespace) -> dict[str, Any]:
    """All of them in turns, on the toybox."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        subject = subjects.prepare("toybox", place, tiny=options.tiny)
        words = (*commands.OURS, *options.settings)
        entered = [commands.ours("first step, tinv", subject, place / "tinv", *words, steps=1)]
        if options.reference:
            flags = (place / "theirs", *commands.AS_SHIPPED)
            entered.append(commands.theirs("first step, reference", options.reference, subject, *flags, steps=1))
        taken: dict[str, list[float]] = {name: [] for name in (*SAID, *(command.name for command in entered))}
        for turn in range(options.rounds):
            for name, asked in SAID.items():
                taken[name].append(said(asked, place))
            for command in entered[:: 1 if turn % 2 else -1]:
                taken[command.name].append(first(command)[1])
    found = {name: Figure.of(seconds) for name, seconds in taken.items()}
    print(f"\nstart: {subjects.TITLES['toybox']}")
    print(align_columns([("", "CPU s"), *found.items()], align_right=True))
    return {name: figure.as_json() for name, figure in found.items()}


def said(words: Sequence[str], folder: Path) -> float:
    """Seconds until `train.py` has answered a command that starts no run."""
    command, nowhere = [sys.executable, str(ROOT / "train.py"), *words], subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=folder, stdout=nowhere, stderr=nowhere)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime
