"""The protocol of DreamBooth (Ruiz et al. 2022): 30 subjects x 25 prompts x 4 samples, one word for each subject."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinv.errors import UserError
from tinv.evaluation import Bench, Settings, find_subjects, table
from tinv.evaluation.dreambench import summary as outcome
from tinv.evaluation.dreambench.dataset import Subject, read_subjects
from tinv.evaluation.dreambench.subject_runs import command, over_subjects, train

FILE = "dreambench.json"
SETTINGS = Settings(seeds=(0, 1, 2, 3), num_inference_steps=50, guidance_scale=7.5, sampler="ddim")
"""Four samples a prompt. The paper names neither sampler nor guidance: these are the usual ones."""


def dreambench(
    data: Path, out: Path, overrides: Sequence[str], *, only: Sequence[str] = (), settings: Settings = SETTINGS
) -> dict[str, Any]:
    """Learn, draw and measure what is not done yet.

    Args:
        data: the folder with the pictures.
        out: where the benchmark is kept.
        overrides: settings of the runs, such as `model=sd15 hydra/launcher=slurm`.
        only: some of the subjects.
        settings: seeds, steps, towers; prompts and class are the subjects' own.

    Returns:
        What is in `dreambench.json`.

    Raises:
        UserError: the folder is of another layout, the sweep could not begin, or no run came to its end.
    """
    subjects = read_subjects(data, only)
    folder = train(out, over_subjects(out, subjects, overrides))
    return measure(folder, out, subjects, settings=settings)


def planned(data: Path, out: Path, overrides: Sequence[str], *, only: Sequence[str] = ()) -> list[str]:
    """The command that trains, for whoever wants to type it elsewhere."""
    return command(out, over_subjects(out, read_subjects(data, only), overrides))


def measure(folder: Path, out: Path, subjects: Sequence[Subject], *, settings: Settings) -> dict[str, Any]:
    """Measure the words of a sweep: per subject, then over subjects.

    Raises:
        UserError: there is none, or one of them cannot be measured.
    """
    by_word = {subject.placeholder_token: subject for subject in subjects}
    found = find_subjects([folder])[folder]
    words = [word for word in found if word.learned.placeholder_token in by_word]
    if not words:
        raise UserError(f"{folder} has no word for any of the subjects; look at its log.txt files")
    bench, rows = Bench(), list[outcome.Measured]()
    for word in words:
        subject = by_word[word.learned.placeholder_token]
        own = replace(settings, prompts=subject.prompts, class_noun=subject.noun, images=subject.folder)
        result, is_new = bench.result(word, own)
        table.tell(word, result, is_new)
        rows.append((word, result))
    names = {placeholder: subject.name for placeholder, subject in by_word.items()}
    return outcome.write(out / FILE, rows, names, _protocol(settings, subjects))


def _protocol(settings: Settings, subjects: Sequence[Subject]) -> dict[str, Any]:
    samples = sum(len(subject.prompts) for subject in subjects) * len(settings.seeds)
    return {
        "name": "DreamBench (arXiv 2208.12242)",
        "subjects": len(subjects),
        "samples": samples,
        "seeds": list(settings.seeds),
        "num_inference_steps": settings.num_inference_steps,
        "guidance_scale": settings.guidance_scale,
        "sampler": settings.sampler,
    }
