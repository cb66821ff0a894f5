"""A run as its folder tells it, whether it has ended or not."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tinv.report.reading import Curve, read_curves, read_evaluation, read_lines, read_object
from tinv.status import Status, read_status

_SHEET = re.compile(r"step_(\d{1,12})\.png")
_EMBEDDING = re.compile(r"(?!learned_embeds(_2)?-steps-).*\.(safetensors|pt|bin)")


@dataclass(frozen=True)
class Run:
    """What is in a run's folder; everything but the folder may be missing."""

    folder: Path

    @cached_property
    def status(self) -> Status | None:
        """How it stands."""
        return read_status(self.folder)

    @cached_property
    def card(self) -> Mapping[str, Any]:
        """run.json."""
        return read_object(self.folder / "run.json")

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """metrics.csv, by column."""
        return read_curves(self.folder / "metrics.csv")

    @cached_property
    def evaluation(self) -> dict[str, float]:
        """What was measured afterwards."""
        return read_evaluation(self.folder / "evaluation.json")

    @cached_property
    def overrides(self) -> list[str]:
        """What was typed."""
        return read_lines(self.folder / ".hydra" / "overrides.yaml")

    @cached_property
    def sheets(self) -> dict[int, Path]:
        """The sheets of samples by step."""
        found = [(_SHEET.fullmatch(path.name), path) for path in self.folder.glob("samples/step_*.png")]
        return dict(sorted((int(match[1]), path) for match, path in found if match))

    @cached_property
    def embeddings(self) -> list[Path]:
        """The files of what was learned, without those on the way."""
        return sorted(path for path in self.folder.glob("*") if _EMBEDDING.fullmatch(path.name))

    def told(self, name: str) -> Mapping[str, Any]:
        """An object of run.json, empty if there is none."""
        found = self.card.get(name)
        return found if isinstance(found, dict) else {}

    @property
    def placeholders(self) -> list[str]:
        """The words that were learned."""
        told = self.card.get("concepts") or [self.card.get("concept")]
        found = told if isinstance(told, list) else []
        return [
            str(concept["placeholder"]) for concept in found if isinstance(concept, dict) and "placeholder" in concept
        ]

    @property
    def step(self) -> int | None:
        """The last step that is known of."""
        steps = [curve[-1][0] for curve in self.curves.values() if curve]
        return max([*steps, *self.sheets], default=None)

    @property
    def max_steps(self) -> int | None:
        """How many steps it is to take."""
        told = self.card.get("max_steps")
        return told if isinstance(told, int) and told > 0 else None

    def latest(self, name: str | None) -> float | None:
        """A number as it was last measured."""
        curve = self.curves.get(name or "")
        return curve[-1][1] if curve else None
