"""Evaluations side by side: a row for each setting, means over subjects and seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinv.evaluation import results
from tinv.evaluation.subjects import Subject
from tinv.runs.layout import EVALUATION
from tinv.runs.sweep_point import find_sweep_point
from tinv.runs.text_table import align_columns

REPEATS = {"seed", "experiment", "name", "subject", "concept", "concept.name", "concept.placeholder_token"}
REPEATS |= {"data", "data.folder"}
"""What is swept to repeat a measurement, with another seed or on another subject."""
COLUMNS = {
    "clip_i": "CLIP-I",
    "clip_t": "CLIP-T",
    "clip_t_bare": "CLIP-T bare",
    "dino": "DINO",
    "diversity": "diversity",
    "nearest": "nearest",
    "copies": "copies",
    "score": "score",
}


def groups(subjects: Sequence[Subject], found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The evaluations with the same settings together, each group with its means.

    Args:
        subjects: the words.
        found: their evaluations.
    """
    together: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for i, subject in enumerate(subjects):
        together.setdefault(tuple(swept(subject).items()), []).append(i)
    return [
        {
            "settings": dict(kept),
            "subjects": [str(subjects[i].folder) for i in members],
            **results.macro([found[i]["scores"] for i in members]),
        }
        for kept, members in together.items()
    ]


def swept(subject: Subject) -> dict[str, str]:
    """The settings of a word's run that its sweep compared."""
    place = find_sweep_point(subject.place)
    return {name: value for name, value in (place.swept if place else {}).items() if name.lstrip("+") not in REPEATS}


def spelled(settings: Mapping[str, str]) -> str:
    """`optimizer.lr=1e-3 loss=debiased`."""
    return " ".join(f"{name}={value}" for name, value in settings.items()) or "all"


def text(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Lines of columns; each row is a label with `scores`, and perhaps `spread` and `count`."""
    known = dict.fromkeys([*COLUMNS, *(name for _, row in rows for name in row["scores"])])
    names = [name for name in known if any(row["scores"].get(name) is not None for _, row in rows)]
    cells = [["", *(COLUMNS.get(name, name) for name in names)]]
    for label, row in rows:
        cells.append([label, *(_cell(row, name) for name in names)])
    return align_columns(cells)


def label(subject: Subject) -> str:
    """A word, with what is special about its run."""
    place = find_sweep_point(subject.place)
    return f"{subject.learned.placeholder_token} {place.label if place else ''}".strip()


def summary(place: Path, subjects: Sequence[Subject], found: Sequence[Mapping[str, Any]]) -> Path | None:
    """Write what a place with several words comes to; a place with one has its evaluation already."""
    if len(subjects) < 2 or not place.is_dir():
        return None
    whole = results.macro([each["scores"] for each in found])
    feature_extractors = [each["feature_extractors"] for each in found]
    same = (
        {"feature_extractors": feature_extractors[0]}
        if all(each == feature_extractors[0] for each in feature_extractors)
        else {}
    )
    return results.write(place, {**whole, "groups": groups(subjects, found), **same})


def tell(subject: Subject, result: Mapping[str, Any], is_new: bool) -> None:
    """Say that a word is done."""
    print(f"{subject.folder / EVALUATION}{'' if is_new else ' (was there)'}", flush=True)


def conclude(found: Mapping[Path, Sequence[Subject]], done: Sequence[Mapping[str, Any]]) -> None:
    """Write the means of each place, and print all there is to say.

    Args:
        found: the words of each place.
        done: their evaluations, in the same order.
    """
    everyone = [subject for subjects in found.values() for subject in subjects]
    own = {subject.folder: result for subject, result in zip(everyone, done, strict=True)}
    rows: list[tuple[str, Mapping[str, Any]]] = [(label(subject), own[subject.folder]) for subject in everyone]
    for place, subjects in found.items():
        here = [own[subject.folder] for subject in subjects]
        if path := summary(place, subjects, here):
            print(path)
            several = [group for group in groups(subjects, here) if len(group["subjects"]) > 1]
            rows += [(f"mean of {spelled(group['settings'])}", group) for group in several]
    print(text(rows))
    for note in dict.fromkeys(
        str(result["feature_extractors"]["note"]) for result in done if result["feature_extractors"].get("note")
    ):
        print(f"note: {note}")


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row["scores"].get(name)
    if value is None:
        return "-"
    spread, count = row.get("spread", {}).get(name), row.get("count", {}).get(name)
    apart = f" ± {spread:.3f}" if spread is not None else ""
    return f"{value:.3f}{apart}{f' ({count})' if count and count > 1 else ''}"
