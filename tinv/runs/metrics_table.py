"""Reads metrics.csv line by line, so that damage in one line costs no other."""

import csv
import re
from collections import Counter

Rows = dict[int, dict[str, str]]
"""The fields that are not empty, by step and metric, as they are written."""

_STEP = re.compile(r"\d{1,12}", re.ASCII)


def parse_metrics(content: bytes) -> tuple[Rows, str]:
    """Returns what can be read of metrics.csv, and what cannot as a message; the message is empty if all can.

    The first column holds the steps, whatever its damaged name. A last line without its end is left out: its last
    number may be cut off.
    """
    *lines, end = content.decode("utf-8", errors="surrogateescape").split("\n")
    problems = Counter({"a line that is cut off": int(bool(end)), "an empty file": int(not content)})
    rows: Rows = {}
    names: list[str] = []
    for number, line in enumerate(lines):
        fields = _split(line)
        if number == 0:
            names = [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in fields]
            problems["a damaged header"] = int(names[:1] != ["step"] or "\ufffd" in "".join(names))
        elif len(fields) != len(names) or not _STEP.fullmatch(fields[0]) or int(fields[0]) in rows:
            problems["a damaged line"] += 1
        else:
            values = {name: value for name, value in zip(names[1:], fields[1:], strict=True) if value}
            rows[int(fields[0])] = {name: value for name, value in values.items() if name and _is_number(value)}
            problems["a damaged value"] += len(values) - len(rows[int(fields[0])])
    return rows, ", ".join(f"{what}{f' ({count} times)' if count > 1 else ''}" for what, count in (+problems).items())


def _split(line: str) -> list[str]:
    """Returns the fields of a line; a quote that is not closed must not swallow the lines after it."""
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii()
