"""The devices of this machine, and how many runs go on them at once."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from tinv.errors import UserError

CORES_A_RUN = 4
"""How many cores a run on the CPU can make use of."""


@dataclass(frozen=True)
class DeviceSlot:
    """Room for one run."""

    name: str
    """`device 0`, or `slot 0` on the CPU."""
    env: dict[str, str] = field(default_factory=dict)
    """What makes a run keep to it."""


def slots(devices: Sequence[int | str] | None, jobs: int | None) -> list[DeviceSlot]:
    """One slot for each device, or on the CPU one for each job.

    Args:
        devices: as CUDA_VISIBLE_DEVICES counts or names them; None is all that there are.
        jobs: how many runs at once; None is as many as there are devices, on the CPU one for each four cores.

    Raises:
        UserError: there are fewer devices than jobs, or a device is named twice.
    """
    names = [str(name) for name in (local_devices() if devices is None else devices)]
    if len(set(names)) < len(names):
        raise UserError(f"hydra.launcher.devices names one twice, got [{', '.join(names)}]; one run fits on each")
    if jobs is not None and jobs < 1:
        raise UserError(f"hydra.launcher.n_jobs must be 1 or more, got {jobs}; null is one for each device")
    if names and jobs is not None and jobs > len(names):
        raise UserError(
            f"hydra.launcher.n_jobs={jobs} are more than the {len(names)} devices ({', '.join(names)}), and one run fits "
            f"on each; set jobs={len(names)} or fewer"
        )
    count = jobs or len(names) or max(1, cores() // CORES_A_RUN)
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // count))}
    if names:
        return [DeviceSlot(f"device {name}", {**threads, "CUDA_VISIBLE_DEVICES": name}) for name in names[:count]]
    return [DeviceSlot(f"slot {i}", threads) for i in range(count)]


def local_devices() -> list[str]:
    """The CUDA devices that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    import torch  # seconds, and only needed where nothing else tells

    return [str(i) for i in range(torch.cuda.device_count())]


def cores() -> int:
    """How many this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
