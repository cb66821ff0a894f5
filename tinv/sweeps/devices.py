"""The devices of this machine, and how many runs they take at once."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from tinv.errors import UserError, require_minimum

CORES_PER_RUN = 4
"""How many cores a run on the CPU can use."""


@dataclass(frozen=True)
class DeviceSlot:
    """Room for one run."""

    name: str
    """`device 0`, or `slot 0` on the CPU."""
    env: dict[str, str] = field(default_factory=dict)
    """The environment variables that keep a run on its device."""


def device_slots(devices: Sequence[int | str] | None, n_jobs: int | None) -> list[DeviceSlot]:
    """Returns a slot for each device, or on the CPU for each job.

    Args:
        devices: the devices to use, as in CUDA_VISIBLE_DEVICES; None is all of them.
        n_jobs: how many runs at once; None is one for each device, or on the CPU one for each four cores.

    Raises:
        UserError: there are fewer devices than jobs, or a device is listed twice.
    """
    names = [str(name) for name in (visible_devices() if devices is None else devices)]
    if len(set(names)) < len(names):
        raise UserError(f"hydra.launcher.devices=[{', '.join(names)}]: a device is listed twice. List each once.")
    require_minimum("hydra.launcher.n_jobs", n_jobs, 1, "null is one for each device.")
    if names and n_jobs is not None and n_jobs > len(names):
        raise UserError(
            f"hydra.launcher.n_jobs={n_jobs}: there are only {len(names)} devices ({', '.join(names)}), and each takes "
            f"one run. Set hydra.launcher.n_jobs={len(names)} or fewer."
        )
    count = n_jobs or len(names) or max(1, available_cores() // CORES_PER_RUN)
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, available_cores() // count))}
    if names:
        return [DeviceSlot(f"device {name}", {**threads, "CUDA_VISIBLE_DEVICES": name}) for name in names[:count]]
    return [DeviceSlot(f"slot {i}", threads) for i in range(count)]


def visible_devices() -> list[str]:
    """Returns the CUDA devices that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    import torch  # takes seconds

    return [str(i) for i in range(torch.cuda.device_count())]


def available_cores() -> int:
    """Returns how many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
