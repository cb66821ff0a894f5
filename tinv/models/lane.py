"""A thread whose calls of a frozen model are joined with those of other threads."""

import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tinv.models.joint_call import Call, Operation


@dataclass(eq=False)
class LaneTask:
    """A function of a lane that uses the model itself, and what became of it."""

    function: Callable[[], Any]
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None


class Lane:
    """A thread whose calls are joined with those of other lanes."""

    def __init__(self, batcher: Any, name: str):
        self._batcher, self.name = batcher, name
        self.thread_id = threading.get_ident()
        self.num_awaited = 0
        """Results that it waits for."""
        self.expected_until = 0.0
        """Until when other calls wait for the next one of this lane."""
        self.returned_at = 0.0
        self.gap_s: float | None = None
        """Average time between a result and the next call."""
        self.has_trained = False
        self._pending: list[Call] = []

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for a result."""
        return self.num_awaited > 0

    def call(
        self,
        operation: Operation,
        inputs: Mapping[str, Tensor],
        options: Mapping[str, Any],
        *,
        key: Any,
    ) -> Any:
        """Returns the output of an operation, for this lane's part of a batch.

        Args:
            operation: what to compute.
            inputs: tensors whose first dimension is the batch; gradients reach them.
            options: further arguments of the operation.
            key: calls with equal keys and equal shapes can be joined; None computes this one alone.
        """
        call = Call(self, operation, dict(inputs), dict(options), key)
        self._batcher.submit(call)
        if call.needs_grad:
            self._pending.append(call)
        return call.output

    def run(self, function: Callable[[], Any]) -> Any:
        """Returns what a function returns that uses the model itself, when no call is being computed."""
        return self._batcher.run(self, function)

    def format_stack(self) -> str:
        """Returns what the thread does now, as in a traceback."""
        frame = sys._current_frames().get(self.thread_id)
        return "".join(traceback.format_stack(frame)[-8:]) if frame else ""

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of a loss to the leaves of its graph, through the calls since the last backward pass.

        Calls have returned leaves, which are detached from the graph of the batch. `loss.backward()` runs down to these
        leaves. Then the lane waits for the backward pass of the batch, which is computed for all of its lanes at once,
        and goes on from the gradients of the calls' inputs.
        """
        pending, self._pending = self._pending, []
        if not pending:
            loss.backward()
            return
        loss.backward(retain_graph=True)
        for order in sorted({call.operation.order for call in pending}, reverse=True):
            calls = [call for call in pending if call.operation.order == order]
            for call in calls:
                call.gradients = [leaf.grad for leaf in call.leaves]
            used = self._batcher.backward(self, calls)
            pairs = [pair for call in used for pair in call.gradients_of_inputs()]
            if pairs:
                tensors, gradients = zip(*pairs, strict=True)
                torch.autograd.backward(tensors, gradients, retain_graph=True)
