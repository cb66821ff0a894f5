"""Calls that are computed as one batch, and the graph that is between their forward and their backward pass."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Operation:
    """What a call computes."""

    name: str
    order: int
    """An operation gets only inputs that depend on operations of a lower order."""
    compute: Callable[[dict[str, Tensor], Mapping[str, Any], Mapping[str, Sequence[int]]], Any]
    """Called with the joint inputs, the options of the calls, and the length of each call's part of each input."""
    is_large: bool = False
    """Whether its activations decide how many lanes fit into memory."""


@dataclass(eq=False)
class Call:
    """A call of a lane, from its forward to its backward pass."""

    lane: Any
    operation: Operation
    inputs: dict[str, Tensor]
    """In the graph of the lane."""
    options: dict[str, Any]
    key: Any
    done: threading.Event = field(default_factory=threading.Event)
    """Set after the forward pass, and again after the backward pass."""
    error: BaseException | None = None
    output: Any = None
    leaves: list[Tensor] = field(default_factory=list)
    """The tensors of the output."""
    graph: Any = None
    gradients: list[Tensor | None] | None = None
    """Of the leaves."""
    input_gradients: dict[str, Tensor] = field(default_factory=dict)
    is_answered: bool = False
    """Whether it is known if there is a gradient."""
    is_used: bool = False

    def __post_init__(self) -> None:
        tensors = self.inputs.values()
        self.needs_grad = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        first = next(iter(tensors))
        self.num_rows, device = len(first), first.device.type
        self.autocast = device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        self.is_inference = torch.is_inference_mode_enabled()
        shapes = tuple((name, t.shape[1:], t.dtype, t.device, t.requires_grad) for name, t in self.inputs.items())
        alone = self.key if self.key is not None else object()
        self.joint_key = (self.operation, self.needs_grad, self.is_inference, self.autocast, shapes, alone)

    def answer(self, *, is_used: bool) -> None:
        """Records whether the output has a gradient; if so, the call waits for the gradients of its inputs."""
        self.is_used = is_used
        self.done.clear()
        self.is_answered = True
        self.graph.waiting_since = self.graph.waiting_since or monotonic()

    def gradients_of_inputs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the inputs in the lane's graph that have a gradient, with it."""
        for name, gradient in self.input_gradients.items():
            yield self.inputs[name], gradient


class JointGraph:
    """A batch of calls with equal keys."""

    def __init__(self, calls: list[Call]):
        self.calls, first = calls, calls[0]
        self.operation, self.needs_grad = first.operation, first.needs_grad
        self.num_rows = sum(call.num_rows for call in calls)
        self.waiting_since: float | None = None
        """When the first call was answered."""
        self.is_closed = False
        """Whether its backward pass has begun, or never will."""
        self._inputs: dict[str, Tensor] = {}
        self._outputs: list[Tensor] = []
        self._sizes = {name: [len(call.inputs[name]) for call in calls] for name in first.inputs}

    @property
    def is_answered(self) -> bool:
        """Whether every call knows if it has a gradient."""
        return all(call.is_answered for call in self.calls)

    def abandon(self, lane: Any) -> None:
        """Goes on without a lane's calls."""
        for call in self.calls:
            if call.lane is lane:
                call.is_answered, call.is_used = True, False

    def forward(self, *, is_repeated: bool = False) -> None:
        """Computes the outputs of all calls. `is_repeated` if they have their outputs and need only the graph."""
        first = self.calls[0]
        for name, tensor in first.inputs.items():
            parts = [call.inputs[name].detach() for call in self.calls]
            joint = parts[0] if len(parts) == 1 else torch.cat(parts)
            self._inputs[name] = joint.requires_grad_(self.needs_grad and tensor.requires_grad)
        device, dtype, is_enabled = first.autocast
        with self._grad_mode(), torch.autocast(device, dtype=dtype, enabled=is_enabled):
            output = self.operation.compute(self._inputs, first.options, self._sizes)
        _map_tensors(output, self._outputs.append)
        if not is_repeated:
            offsets = iter(self._row_slices())
            for call in self.calls:
                self._hand_over(call, output, next(offsets))
        if not self.needs_grad:
            self._inputs, self._outputs = {}, []

    def backward(self) -> None:
        """Computes the gradients of the inputs of all calls that are used; the others count as zero.

        Repeats the forward pass if this graph had none.
        """
        if not self._outputs:
            self.forward(is_repeated=True)
        roots, gradients = [], []
        for i, output in enumerate(self._outputs):
            parts = [call.gradients[i] if call.is_used and call.gradients else None for call in self.calls]
            if output.requires_grad and any(part is not None for part in parts):
                leaves = [call.leaves[i] for call in self.calls]
                filled = [torch.zeros_like(x) if part is None else part for x, part in zip(leaves, parts, strict=True)]
                roots.append(output)
                gradients.append(filled[0] if len(filled) == 1 else torch.cat(filled))
        inputs = [tensor for tensor in self._inputs.values() if tensor.requires_grad]
        torch.autograd.backward(roots, gradients, inputs=inputs)
        for name, tensor in self._inputs.items():
            if tensor.grad is not None:
                for call, part in zip(self.calls, tensor.grad.split(list(self._sizes[name])), strict=True):
                    call.input_gradients[name] = part

    def release(self) -> None:
        """Frees the graph."""
        self._inputs, self._outputs = {}, []

    def _hand_over(self, call: Call, output: Any, rows: slice | None) -> None:
        """Gives a call its part of the output, as leaves."""

        def leaf(tensor: Tensor) -> Tensor:
            part = tensor.detach() if rows is None else tensor.detach()[rows].clone()
            part.requires_grad_(self.needs_grad and tensor.requires_grad)
            call.leaves.append(part)
            return part

        call.output, call.graph = _map_tensors(output, leaf), self
        if not self.needs_grad:
            call.leaves = []

    def _row_slices(self) -> Iterator[slice | None]:
        start = 0
        for call in self.calls:
            yield None if len(self.calls) == 1 else slice(start, start + call.num_rows)
            start += call.num_rows

    def _grad_mode(self) -> AbstractContextManager[Any]:
        if self.calls[0].is_inference:
            return torch.inference_mode()
        return torch.set_grad_enabled(self.needs_grad)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def attempt(function: Callable[[], None]) -> Exception | None:
    """Returns what a function raises, or None. After a failed allocation, its memory is free again."""
    try:
        function()
        return None
    except Exception as error:
        failure = error
    if is_out_of_memory(failure):
        failure.__traceback__ = failure.__context__ = None  # holds the frames, which hold activations
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return failure


def _map_tensors(value: Any, function: Callable[[Tensor], Any]) -> Any:
    """Returns nested tuples, lists and mappings with each tensor replaced; outputs of transformers are mappings."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return type(value)(**{key: _map_tensors(item, function) for key, item in value.items()})
    if isinstance(value, tuple | list):
        return type(value)([_map_tensors(item, function) for item in value])
    return value
