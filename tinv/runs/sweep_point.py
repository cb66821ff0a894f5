"""Which point of a sweep a run is, told by the sweep's own files around it."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SweepPointRef:
    """A run's place in its sweep."""

    sweep: str
    """Tells the sweep from all others: `2026-11-22_20-00-00-3f9c0a12bd77`."""
    swept: dict[str, str]
    """What was swept, and to what."""

    @property
    def label(self) -> str:
        """What is special about the run: `num_vectors=2 lr=0.001`; full names where short ones would not tell."""
        short = {name: name.rpartition(".")[2] for name in self.swept}
        names = short if len(set(short.values())) == len(short) else {name: name for name in short}
        return " ".join(f"{names[name]}={value}" for name, value in self.swept.items())


def place_of(run: Path | str) -> SweepPointRef | None:
    """The place of the run in a folder, or None if it belongs to no sweep."""
    run = Path(run).absolute()
    try:
        plan, stand = (json.loads((run.parent / name).read_text("utf-8")) for name in ("plan.json", "sweep.json"))
        swept = next(row["swept"] for row in stand["points"] if str(row["point"]) == run.name)
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None
    return SweepPointRef(f"{run.parent.name}-{plan['id']}", swept)
