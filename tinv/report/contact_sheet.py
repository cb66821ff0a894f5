"""The contact sheet: a row for each point or step, a column for each prompt, in it a picture for each seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from tinv.report.downsample import pick_evenly
from tinv.report.thumbnails import thumbnail
from tinv.runs.image_grid import read_grid_images, read_grid_labels

MOST_PICTURES = 6000
MOST_BYTES = 15_000_000
"""Of all pictures together, before they are written as text, which makes them a third longer."""


@dataclass(frozen=True)
class Source:
    """What is to be in a row."""

    key: int
    """Number of the point, or the step."""
    sheets: Mapping[int, Sequence[Path]]
    """By step; one for each concept of a run."""
    words: Sequence[str] = ()
    """What was learned there: prompts that differ in it alone stand in one column."""


@dataclass
class Row:
    """What there is of it."""

    key: int
    frames: dict[int, dict[tuple[int, int], str | None]] = field(default_factory=dict)
    """By step, by column and seed: a picture's address, None where the numbers were not finite."""
    prompts: dict[int, str] = field(default_factory=dict)
    """By column, as they were drawn."""
    missing: bool = False
    """Whether there were sheets of which none could be read."""

    @property
    def last(self) -> int | None:
        """The step that is shown first."""
        return max(self.frames, default=None)


@dataclass(frozen=True)
class ContactSheet:
    """All rows, and what is common to them."""

    rows: list[Row]
    columns: list[str]
    seeds: list[str]
    omitted: str
    """What was left out so that the page does not get too large; empty if nothing was."""

    @property
    def steps(self) -> list[int]:
        """All steps of all rows."""
        return sorted({step for row in self.rows for step in row.frames})

    @property
    def frames(self) -> dict[str, dict[int, str | None]]:
        """By `row.column.seed` and step the pictures that are not shown at first."""
        found: dict[str, dict[int, str | None]] = {}
        for row in self.rows:
            for step, frame in row.frames.items():
                for (column, seed), picture in frame.items():
                    if step != row.last:
                        found.setdefault(f"{row.key}.{column}.{seed}", {})[step] = picture
        return found

    @property
    def is_empty(self) -> bool:
        """Whether there is no picture at all."""
        return not any(row.frames for row in self.rows)


def make_album(
    sources: Sequence[Source], *, most_pictures: int = MOST_PICTURES, most_bytes: int = MOST_BYTES
) -> ContactSheet:
    """Take the pictures off the sheets, as many and as large as there is room for.

    First steps between the first and the last are left out, then seeds, then prompts.
    """
    columns, seeds = _Names(), _Names()
    room = _room(sources, most_pictures)
    most_each = most_bytes // max(1, room.count)
    rows = []
    for source in sources:
        row = Row(source.key)
        for step in pick_evenly(sorted(source.sheets), room.steps):
            frame: dict[tuple[int, int], str | None] = {}
            for prompt, seed, picture in _on_sheets(source.sheets[step], room):
                column = columns.place(_template(prompt, source.words), prompt)
                row.prompts[column] = prompt
                frame[column, seeds.place(seed)] = thumbnail(picture, most_each) if picture else None
            if frame:
                row.frames[step] = frame
        row.missing = bool(source.sheets) and not row.frames
        rows.append(row)
    return ContactSheet(rows, columns.shown, seeds.shown, room.omitted)


class _Names:
    """Places in the order of first appearance."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self.shown: list[str] = []

    def place(self, name: str, shown: str | None = None) -> int:
        if name not in self._places:
            self._places[name] = len(self._places)
            self.shown.append(shown or name)
        return self._places[name]


@dataclass(frozen=True)
class _Room:
    """How many of each there is room for."""

    steps: int
    seeds: int
    prompts: int
    count: int
    omitted: str


def _room(sources: Sequence[Source], most: int) -> _Room:
    newest = [source.sheets[max(source.sheets)] for source in sources if source.sheets]
    found = [[headings for path in paths if (headings := read_grid_labels(path))] for paths in newest]
    if not any(found):
        return _Room(0, 0, 0, 0, "")
    rows, steps = len(newest), max(len(source.sheets) for source in sources)
    seeds = max(len(sheet.columns) for sheets in found for sheet in sheets)
    prompts = max(sum(len(sheet.rows) for sheet in sheets) for sheets in found)
    kept_steps = min(steps, max(1, most // (rows * seeds * prompts)))
    kept_seeds = min(seeds, max(1, most // (rows * prompts)))
    kept_prompts = min(prompts, max(1, most // rows))
    kept = {"steps": (kept_steps, steps), "seeds": (kept_seeds, seeds), "prompts": (kept_prompts, prompts)}
    omitted = ", ".join(f"{few} of {all} {what}" for what, (few, all) in kept.items() if few < all)
    return _Room(kept_steps, kept_seeds, kept_prompts, rows * kept_steps * kept_seeds * kept_prompts, omitted)


def _on_sheets(paths: Sequence[Path], room: _Room) -> Iterator[tuple[str, str, Image.Image | None]]:
    prompts_left = room.prompts
    for path in paths:
        headings = read_grid_labels(path)
        pictures = read_grid_images(path, headings) if headings else None
        if headings and pictures:
            for i, prompt in enumerate(headings.rows[:prompts_left]):
                for j, seed in enumerate(headings.columns[: room.seeds]):
                    yield prompt, seed, pictures[i * len(headings.columns) + j]
            prompts_left -= min(prompts_left, len(headings.rows))


def _template(prompt: str, words: Sequence[str]) -> str:
    """The prompt without the words that were learned; longer words first, for they may hold shorter ones."""
    for word in sorted(words, key=len, reverse=True):
        prompt = prompt.replace(word, f"{{{words.index(word)}}}")
    return prompt
