"""A run for each subject, as an ordinary sweep: resumable, and on whatever launcher is chosen."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from tinv.errors import UserError
from tinv.evaluation.dreambench.dataset import Subject
from tinv.runs.files import write_text
from tinv.runs.layout import list_sweeps
from tinv.sweeps.plan_file import read_plan

GROUP = "subject"
RUNS = "runs"
"""The name of the sweep below the benchmark's folder."""
_DOOR = [sys.executable, "-m", "tinv.training.main"]


def write_group(out: Path, subjects: Sequence[Subject]) -> Path:
    """Write a config group of the subjects, and return the directory to be given as --config-dir."""
    for subject in subjects:
        told = {
            "concept": {"placeholder_token": subject.placeholder_token, "initializer_token": subject.noun},
            "data": {"folder": str(subject.folder.resolve())},
            **({"embedding": {"init": "mean"}} if " " in subject.noun else {}),
        }
        text = f"# @package _global_\n{yaml.safe_dump(told, allow_unicode=True, sort_keys=False)}"
        write_text(out / "conf" / GROUP / f"{subject.name}.yaml", text)
    return (out / "conf").resolve()


def over_subjects(out: Path, subjects: Sequence[Subject], overrides: Sequence[str]) -> list[str]:
    """What is typed behind `train.py` for a sweep over subjects; their config group is written."""
    points = ",".join(subject.name for subject in subjects)
    return [f"--config-dir={write_group(out, subjects)}", "-m", *overrides, *places(out), f"+{GROUP}={points}"]


def places(out: Path) -> list[str]:
    """Settings that keep a sweep below a benchmark's folder."""
    return [f"paths.root_dir={out.resolve()}", f"name={RUNS}"]


def command(out: Path, typed: Sequence[str]) -> list[str]:
    """The whole command: the sweep, or what is left of the one that has been begun, and new points of it."""
    begun = newest(out)
    return [*_DOOR, *typed, *([] if begun is None else [f"sweep.resume={begun}"])]


def newest(out: Path) -> Path | None:
    """The sweep that has been begun."""
    sweeps = list_sweeps(out / RUNS)
    return sweeps[-1] if sweeps else None


def train(out: Path, typed: Sequence[str]) -> Path:
    """Train what is not done, and return the sweep's folder. Runs that fail do not end the others.

    Raises:
        UserError: the sweep could not begin, or one with other settings has been begun there.
    """
    done = subprocess.run(command(out, typed), check=False)
    folder = newest(out)
    if folder is None:
        raise UserError(f"the sweep could not begin (exit code {done.returncode}); its reason stands above")
    if done.returncode and _settings(read_plan(folder)["command"]) != _settings(typed):
        raise UserError(f"{out} was begun with other settings; repeat those, or give --out another folder")
    return folder


def _settings(typed: Sequence[str]) -> set[str]:
    """A sweep that was refused leaves the plan of the one before it."""
    return {text for text in typed if not text.startswith("-")}
