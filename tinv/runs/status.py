"""The contents of status.json and progress.json: the state of a run, and how far it is."""

from dataclasses import dataclass, field
from datetime import datetime

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
ENDED = ("done", "pruned", "discarded", "failed", "interrupted")
"""Final states. A killed run stays `running` in its own file; the launcher that started it knows better."""


@dataclass
class Status:
    """The state of a run."""

    status: str = "running"
    """`waiting`, `queued`, `running`, `requeued`, or one of `ENDED`."""
    value: float | None = None
    """The monitored metric at the end."""
    reason: str | None = None
    """Why the run failed, ended early, or was stopped on request."""
    started: str = ""
    """Start of the current session, in TIME_FORMAT; empty before it."""
    seconds: float = 0.0
    """Duration of the current session, plus that of earlier sessions that ended by requeueing."""
    process: str = ""
    """`host:pid` of the process that runs it."""
    job: str | None = None
    """Slurm job id: `123`, or `123_4`."""
    first_started: str = ""
    """Start of the first session."""
    restarts: int = 0
    """How often the run was resumed."""

    def __post_init__(self) -> None:
        """Raises ValueError if a time is none."""
        for time in filter(None, (self.started, self.first_started)):
            datetime.strptime(time, TIME_FORMAT)

    @property
    def has_ended(self) -> bool:
        """Whether the run itself reported its end."""
        return self.status in ENDED


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    step: int
    """Optimizer steps made."""
    max_steps: int
    steps_per_s: float
    """Rate of the current session."""
    seconds_left: float | None
    loss: float | None
    written_at: str
    timeline: list[list[float]] = field(default_factory=list)
    """Pairs of a step and the seconds of training before it, in all sessions."""
    memory_gb: dict[str, float] = field(default_factory=dict)
    """Memory of the `process`, and the largest so far of its tensors on a `gpu`, in units of 1e9 bytes."""
