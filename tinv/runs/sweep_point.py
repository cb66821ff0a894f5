"""The sweep that a run belongs to, from the files of the sweep around its folder."""

from dataclasses import dataclass
from pathlib import Path

from tinv.runs.reader import SweepReader


@dataclass(frozen=True)
class SweepPointRef:
    """A run as a point of a sweep."""

    sweep: str
    """A unique name of the sweep: `2026-11-22_20-00-00-3f9c0a12bd77`."""
    swept: dict[str, str]
    """The swept settings with their values."""

    @property
    def label(self) -> str:
        """The swept settings as text: `num_vectors=2 lr=0.001`; with full names if short ones are ambiguous."""
        short = {name: name.rpartition(".")[2] for name in self.swept}
        names = short if len(set(short.values())) == len(short) else {name: name for name in short}
        return " ".join(f"{names[name]}={value}" for name, value in self.swept.items())


def find_sweep_point(run_dir: Path | str) -> SweepPointRef | None:
    """Returns the sweep point that a run is, or None if it is no point of a readable sweep."""
    run_dir = Path(run_dir).absolute()
    sweep = SweepReader(run_dir.parent)
    point = next((point for point in sweep.points if str(point.number) == run_dir.name), None)
    sweep_id = (sweep.plan or {}).get("id")
    return SweepPointRef(f"{run_dir.parent.name}-{sweep_id}", dict(point.swept)) if point and sweep_id else None
