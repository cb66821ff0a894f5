"""The protocol of DreamBooth (Ruiz et al. 2022): 30 subjects x 25 prompts x 4 samples, one word for each subject."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinv.benchmark.layout import Subject, read_subjects
from tinv.benchmark.training import command, over_subjects, train
from tinv.errors import UserError
from tinv.evaluation import Bench, Settings, find_subjects, results, table
from tinv.evaluation.subjects import Subject as Word
from tinv.files import write_json

FILE = "dreambench.json"
SETTINGS = Settings(seeds=(0, 1, 2, 3), steps=50, guidance=7.5)
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
    """Measure the words of a sweep: per subject, then over subjects."""
    by_word = {subject.placeholder: subject for subject in subjects}
    found = find_subjects([folder])[folder]
    words = [word for word in found if word.learned.placeholder in by_word]
    if not words:
        raise UserError(f"{folder} has no word for any of the subjects; look at its log.txt files")
    bench, rows = Bench(), list[tuple[Word, dict[str, Any]]]()
    for word in words:
        subject = by_word[word.learned.placeholder]
        own = replace(settings, prompts=subject.prompts, noun=subject.noun, images=subject.folder)
        result, is_new = bench.result(word, own)
        table.tell(word, result, is_new)
        rows.append((word, result))
    parts = {name: _of_subject(name, rows) for name in by_word if any(_name(word) == name for word, _ in rows)}
    whole = {
        **results.macro([part["scores"] for part in parts.values()]),
        "subjects": {by_word[name].name: part for name, part in parts.items()},
        "missing": [subject.name for name, subject in by_word.items() if name not in parts],
        "protocol": _protocol(settings, subjects),
        "towers": rows[0][1]["towers"],
        "versions": rows[0][1]["versions"],
    }
    write_json(out / FILE, results.rounded(whole))
    read: dict[str, Any] = json.loads((out / FILE).read_text(encoding="utf-8"))
    return read


def text(whole: Mapping[str, Any]) -> str:
    """The table of a benchmark, a row for each subject and one for all."""
    rows = [*whole["subjects"].items(), ("all", whole)]
    lines = [table.text(rows)]
    if whole["missing"]:
        lines.append(f"missing: {', '.join(whole['missing'])}; the same command runs what is left")
    if note := whole["towers"].get("note"):
        lines.append(f"note: {note}")
    return "\n".join(lines)


def _name(word: Word) -> str:
    return word.learned.placeholder


def _of_subject(name: str, rows: Sequence[tuple[Word, dict[str, Any]]]) -> dict[str, Any]:
    """A subject's mean over its words, of which there are several where seeds were swept."""
    own = [(word, result) for word, result in rows if _name(word) == name]
    return {**results.macro([result["scores"] for _, result in own]), "runs": [str(word.folder) for word, _ in own]}


def _protocol(settings: Settings, subjects: Sequence[Subject]) -> dict[str, Any]:
    samples = sum(len(subject.prompts) for subject in subjects) * len(settings.seeds)
    return {
        "name": "DreamBench (arXiv 2208.12242)",
        "subjects": len(subjects),
        "samples": samples,
        "seeds": list(settings.seeds),
        "steps": settings.steps,
        "guidance": settings.guidance,
    }
