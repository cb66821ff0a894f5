"""Trains a run for each subject, as a sweep that can be resumed, on any launcher."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from tinv.errors import UserError
from tinv.evaluation.dreambench.dataset import DreamBenchSubject
from tinv.runs.files import write_text
from tinv.runs.layout import list_sweeps
from tinv.sweeps.plan_file import read_plan

GROUP = "subject"
SWEEP_NAME = "runs"
"""The folder of the sweep inside the benchmark's folder."""
_TRAIN = [sys.executable, "-m", "tinv.training.main"]


def write_config_group(out: Path, subjects: Sequence[DreamBenchSubject]) -> Path:
    """Writes a config group of the subjects; returns the folder for --config-dir."""
    for subject in subjects:
        settings = {
            "concept": {"placeholder_token": subject.placeholder_token, "initializer_token": subject.class_noun},
            "data": {"folder": str(subject.folder.resolve())},
            **({"embedding": {"init": "mean"}} if " " in subject.class_noun else {}),
        }
        text = f"# @package _global_\n{yaml.safe_dump(settings, allow_unicode=True, sort_keys=False)}"
        write_text(out / "conf" / GROUP / f"{subject.name}.yaml", text)
    return (out / "conf").resolve()


def sweep_arguments(out: Path, subjects: Sequence[DreamBenchSubject], overrides: Sequence[str]) -> list[str]:
    """Returns the arguments of `train.py` for a sweep over subjects; writes their config group."""
    names = ",".join(subject.name for subject in subjects)
    config_dir = f"--config-dir={write_config_group(out, subjects)}"
    return [config_dir, "-m", *overrides, *folder_overrides(out), f"+{GROUP}={names}"]


def folder_overrides(out: Path) -> list[str]:
    """Returns the overrides that place a sweep inside the benchmark's folder."""
    return [f"paths.root_dir={out.resolve()}", f"name={SWEEP_NAME}"]


def training_command(out: Path, arguments: Sequence[str]) -> list[str]:
    """Returns the command that starts the sweep, or resumes the latest one in the benchmark's folder."""
    sweep = latest_sweep(out)
    return [*_TRAIN, *arguments, *([] if sweep is None else [f"sweep.resume={sweep}"])]


def latest_sweep(out: Path) -> Path | None:
    """Returns the folder of the latest sweep, None if there is none."""
    sweeps = list_sweeps(out / SWEEP_NAME)
    return sweeps[-1] if sweeps else None


def train_subjects(out: Path, arguments: Sequence[str]) -> Path:
    """Trains what is not done; returns the sweep's folder. A failed run does not stop the others.

    Raises:
        UserError: the sweep could not start, or was started before with other settings.
    """
    process = subprocess.run(training_command(out, arguments), check=False)
    sweep = latest_sweep(out)
    if sweep is None:
        raise UserError(f"The sweep could not start (exit code {process.returncode}). See the message above.")
    # a sweep that was refused leaves the plan of the one before
    if process.returncode and _overrides(read_plan(sweep).command) != _overrides(arguments):
        raise UserError(f"--out={out} was started with other settings. Repeat those, or give another folder.")
    return sweep


def _overrides(arguments: Sequence[str]) -> set[str]:
    return {text for text in arguments if not text.startswith("-")}
