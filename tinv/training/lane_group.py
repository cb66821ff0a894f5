"""The lanes that share a model, and how many there are."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import psutil
import torch
from lightning.pytorch import Trainer

from tinv.models.batching import CallBatcher
from tinv.models.joint_call import is_out_of_memory
from tinv.models.lane import Lane
from tinv.models.lane_model import LaneModel, SharedModel

MAX_LANES = 64
GAIN = 1.1
"""More lanes help if they multiply the samples per second by this factor."""
_MIN_CALLS, _MIN_SECONDS = 12, 2.0


class LaneGroup:
    """The lanes of points with the same model, which the first of them loads."""

    is_out_of_memory = staticmethod(is_out_of_memory)

    def __init__(self, key: str, *, accelerator: str, timeout_s: float):
        """Args:
        key: of the model.
        accelerator: the trainer's, which says where the model is.
        timeout_s: seconds after which it is reported what a lane waits for.
        """
        self.key, self._accelerator = key, accelerator
        self.batcher = CallBatcher(timeout_s=timeout_s)
        self.lanes: dict[int, Lane] = {}
        """By thread."""
        self.memory_used = 0
        """Bytes, when the model has been loaded."""
        self._loading = threading.Lock()
        self._shared: SharedModel | None = None

    def get_model(self, settings: str, load: Callable[[], Any]) -> LaneModel:
        """Returns the model of the lane of this thread."""
        del settings
        with self._loading:
            if self._shared is None:
                self._shared = SharedModel(load().to(self._device()), self.batcher)
                self.memory_used = used_bytes()
        return LaneModel(self._shared, self.lanes[threading.get_ident()])

    def _device(self) -> torch.device:
        """Returns the device that Lightning chooses for a run."""
        trainer = Trainer(
            accelerator=self._accelerator,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        return trainer.strategy.root_device

    def close(self) -> None:
        """Releases the model, when no lane is left."""
        self.batcher.close()
        self._shared = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class LaneLimit:
    """The number of lanes: a given one, or it is doubled while that helps and fits into memory."""

    def __init__(self, lanes: int | None, memory_fraction: float):
        """Args:
        lanes: the number; None measures it.
        memory_fraction: share of the memory that may be used.
        """
        self._num_lanes, self._memory_fraction = lanes, memory_fraction
        self.reset()

    def reset(self) -> None:
        """Starts again, for another model."""
        self.lanes = self._num_lanes or 1
        self._is_final = self._num_lanes is not None
        self._rate, self._memory = 0.0, 0
        self._begin = (0.0, 0, 0)

    def lower(self, lanes: int) -> bool:
        """After a failed allocation, allows only so many lanes; returns False if there is none."""
        if lanes > 0:
            self.lanes, self._is_final = min(self.lanes, lanes), True
        return lanes > 0

    def update(self, group: LaneGroup | None, num_lanes: int) -> None:
        """Measures the group's samples per second, and doubles the number of lanes or ends the search."""
        if self._is_final or group is None:
            return
        batcher, now = group.batcher, monotonic()
        if num_lanes < self.lanes or batcher.num_training < self.lanes:
            self._begin = (now, batcher.num_calls, batcher.num_rows)
            return
        start, calls, rows = self._begin
        if batcher.num_calls - calls < _MIN_CALLS or now - start < _MIN_SECONDS:
            return
        rate = (batcher.num_rows - rows) / (now - start)
        if rate < GAIN * self._rate:
            self.lanes, self._is_final = max(1, self.lanes // 2), True
            return
        used = used_bytes()
        added = (self.lanes + 1) // 2  # lanes since the last measurement
        per_lane = max(1, (used - (self._memory or group.memory_used)) // added)
        free = self._memory_fraction * total_bytes() - used
        allowed = self.lanes + max(0, int(free // per_lane))
        doubled = min(2 * self.lanes, allowed, MAX_LANES)
        self._is_final = doubled == self.lanes
        self._rate, self._memory, self.lanes = rate, used, doubled
        self._begin = (now, batcher.num_calls, batcher.num_rows)


def used_bytes() -> int:
    """Returns the most memory of the GPU that was used, or the memory of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return int(psutil.Process().memory_info().rss)


def total_bytes() -> int:
    """Returns the memory that this process could use, what it uses included."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    return int(psutil.virtual_memory().available) + used_bytes()
