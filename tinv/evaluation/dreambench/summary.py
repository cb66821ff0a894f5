"""What a benchmark comes to: means per subject, then over subjects, for each of the settings that were compared."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinv.evaluation import results, table
from tinv.evaluation.evaluate import Result
from tinv.evaluation.subjects import Subject as LearnedToken
from tinv.runs.files import write_json

Measured = tuple[LearnedToken, Result]


def write(path: Path, measured: Sequence[Measured], names: Mapping[str, str], protocol: Mapping[str, Any]) -> Result:
    """Write what was measured.

    Args:
        path: the file.
        measured: words with their evaluations.
        names: the subjects' names by their placeholders, all that there should be.
        protocol: what was asked for.

    Returns:
        What is in the file.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Measured]] = {}
    for word, result in measured:
        groups.setdefault(tuple(table.swept(word).items()), []).append((word, result))
    whole = {
        "groups": [{"settings": dict(settings), **_group(rows, names)} for settings, rows in groups.items()],
        "protocol": protocol,
        "feature_extractors": measured[0][1]["feature_extractors"],
        "versions": measured[0][1]["versions"],
    }
    write_json(path, results.rounded(whole))
    read: Result = json.loads(path.read_text(encoding="utf-8"))
    return read


def text(whole: Mapping[str, Any]) -> str:
    """A table for each of the settings that were compared: a row for each subject and one for all."""
    lines = []
    for group in whole["groups"]:
        if len(whole["groups"]) > 1:
            lines.append(f"\n{table.spelled(group['settings'])}")
        lines.append(table.text([*group["subjects"].items(), ("all", group)]))
        if group["missing"]:
            lines.append(f"missing: {', '.join(group['missing'])}; the same command runs what is left")
    if note := whole["feature_extractors"].get("note"):
        lines.append(f"note: {note}")
    return "\n".join(lines)


def _group(rows: Sequence[Measured], names: Mapping[str, str]) -> dict[str, Any]:
    """A subject with several words, of several seeds, counts once."""
    parts: dict[str, Any] = {}
    for placeholder, name in names.items():
        own = [(word, result) for word, result in rows if word.learned.placeholder_token == placeholder]
        if own:
            scores = results.macro([result["scores"] for _, result in own])
            parts[name] = {**scores, "runs": [str(word.folder) for word, _ in own]}
    return {
        **results.macro([part["scores"] for part in parts.values()]),
        "subjects": parts,
        "missing": [name for name in names.values() if name not in parts],
    }
