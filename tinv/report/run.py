"""A run as its folder tells it, whether it has ended or not."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tinv.report.read_run import Curve, read_curves, read_evaluation, read_lines, read_object
from tinv.runs.layout import concept_dirs
from tinv.runs.status import Status, read_status

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
    def sheets(self) -> dict[int, list[Path]]:
        """The sheets of samples by step, one for each concept."""
        found: dict[int, list[Path]] = {}
        for folder in concept_dirs(self.folder):
            for path in sorted(folder.glob("samples/step_*.png")):
                if match := _SHEET.fullmatch(path.name):
                    found.setdefault(int(match[1]), []).append(path)
        return dict(sorted(found.items()))

    @cached_property
    def embeddings(self) -> list[Path]:
        """The files of what was learned, without those on the way."""
        inside = (path for folder in concept_dirs(self.folder) for path in folder.glob("*"))
        return sorted(path for path in inside if _EMBEDDING.fullmatch(path.name))

    def told(self, name: str) -> Mapping[str, Any]:
        """An object of run.json, empty if there is none."""
        found = self.card.get(name)
        return found if isinstance(found, dict) else {}

    @property
    def concepts(self) -> list[Mapping[str, Any]]:
        """What is learned, as run.json tells it."""
        others = self.card.get("extra_concepts")
        told = [self.card, *(others if isinstance(others, list) else [])]
        found = [part.get("concept") for part in told if isinstance(part, dict)]
        return [concept for concept in found if isinstance(concept, dict)]

    @property
    def placeholders(self) -> list[str]:
        """The words that were learned."""
        return [str(concept["placeholder_token"]) for concept in self.concepts if concept.get("placeholder_token")]

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
