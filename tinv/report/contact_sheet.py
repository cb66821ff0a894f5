"""The contact sheet: a row for each point or step, a column for each prompt, a sample for each seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from tinv.report.downsample import pick_evenly
from tinv.report.thumbnails import thumbnail
from tinv.runs.image_grid import read_grid_images, read_grid_labels

MAX_IMAGES = 6000
MAX_BYTES = 15_000_000
"""Of all images together, before base64, which makes them a third longer."""

Frame = dict[tuple[int, int], str | None]
"""A `data:` URL by column and seed; None for a sample that was not finite."""


@dataclass(frozen=True)
class SheetSource:
    """The samples of a row."""

    key: int
    """Number of the point, or the step."""
    samples: Mapping[int, Sequence[Path]]
    """Sheets of samples by step, one for each concept."""
    placeholder_tokens: Sequence[str] = ()
    """Prompts that differ only in these tokens share a column."""


@dataclass
class SheetRow:
    """A row of the contact sheet."""

    key: int
    frames: dict[int, Frame] = field(default_factory=dict)
    """By step."""
    prompts: dict[int, str] = field(default_factory=dict)
    """By column."""
    is_unreadable: bool = False
    """Whether there are sheets of samples, but none of them can be read."""

    @property
    def last(self) -> int | None:
        """The step that is visible at first."""
        return max(self.frames, default=None)


@dataclass(frozen=True)
class ContactSheet:
    """All rows."""

    rows: list[SheetRow]
    columns: list[str]
    seeds: list[str]
    omitted: str
    """What was left out to limit the size of the page; empty if nothing was."""

    @property
    def steps(self) -> list[int]:
        """The steps of all rows."""
        return sorted({step for row in self.rows for step in row.frames})

    @property
    def frames(self) -> dict[str, dict[int, str | None]]:
        """The samples that are not visible at first, by `row.column.seed` and step."""
        frames: dict[str, dict[int, str | None]] = {}
        for row in self.rows:
            for step, frame in row.frames.items():
                for (column, seed), url in frame.items():
                    if step != row.last:
                        frames.setdefault(f"{row.key}.{column}.{seed}", {})[step] = url
        return frames


def make_contact_sheet(
    sources: Sequence[SheetSource], *, max_images: int = MAX_IMAGES, max_bytes: int = MAX_BYTES
) -> ContactSheet:
    """Reads the samples, as many and as large as the limits allow.

    Leaves out first steps between the first and the last, then seeds, then prompts.
    """
    columns: dict[str, str] = {}
    seeds: dict[str, int] = {}
    limits = _choose_limits(sources, max_images)
    rows = []
    for source in sources:
        row = SheetRow(source.key)
        for step in pick_evenly(sorted(source.samples), limits.steps):
            frame: Frame = {}
            for prompt, seed, image in _read_samples(source.samples[step], limits):
                template = _template(prompt, source.placeholder_tokens)
                columns.setdefault(template, prompt)
                seed_index, column = seeds.setdefault(seed, len(seeds)), list(columns).index(template)
                row.prompts[column] = prompt
                frame[column, seed_index] = thumbnail(image, max_bytes // limits.count) if image else None
            if frame:
                row.frames[step] = frame
        row.is_unreadable = bool(source.samples) and not row.frames
        rows.append(row)
    return ContactSheet(rows, list(columns.values()), list(seeds), limits.omitted)


@dataclass(frozen=True)
class _Limits:
    """How many steps, seeds and prompts of each row are on the page."""

    steps: int
    seeds: int
    prompts: int
    count: int
    """Samples of all rows."""
    omitted: str


def _choose_limits(sources: Sequence[SheetSource], max_images: int) -> _Limits:
    newest = [source.samples[max(source.samples)] for source in sources if source.samples]
    labels = [[grid for path in paths if (grid := read_grid_labels(path))] for paths in newest]
    if not any(labels):
        return _Limits(0, 0, 0, 1, "")
    rows, steps = len(newest), max(len(source.samples) for source in sources)
    seeds = max(len(grid.columns) for grids in labels for grid in grids)
    prompts = max(sum(len(grid.rows) for grid in grids) for grids in labels)
    max_steps = min(steps, max(1, max_images // (rows * seeds * prompts)))
    max_seeds = min(seeds, max(1, max_images // (rows * prompts)))
    max_prompts = min(prompts, max(1, max_images // rows))
    limits = {"steps": (max_steps, steps), "seeds": (max_seeds, seeds), "prompts": (max_prompts, prompts)}
    omitted = ", ".join(f"{limit} of {count} {name}" for name, (limit, count) in limits.items() if limit < count)
    return _Limits(max_steps, max_seeds, max_prompts, rows * max_steps * max_seeds * max_prompts, omitted)


def _read_samples(paths: Sequence[Path], limits: _Limits) -> Iterator[tuple[str, str, Image.Image | None]]:
    """Yields the prompt, the seed and the image of each sample."""
    prompts_left = limits.prompts
    for path in paths:
        if (labels := read_grid_labels(path)) and (images := read_grid_images(path, labels)):
            for i, prompt in enumerate(labels.rows[:prompts_left]):
                for j, seed in enumerate(labels.columns[: limits.seeds]):
                    yield prompt, seed, images[i * len(labels.columns) + j]
            prompts_left -= min(prompts_left, len(labels.rows))


def _template(prompt: str, tokens: Sequence[str]) -> str:
    """Replaces the tokens of a prompt by their numbers; longer tokens first, because they can contain shorter ones."""
    for token in sorted(tokens, key=len, reverse=True):
        prompt = prompt.replace(token, f"{{{tokens.index(token)}}}")
    return prompt
