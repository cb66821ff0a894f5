"""Calls of a frozen model from several threads, joined into batches.

Each thread is a lane. A lane hands over a call and waits; one thread of the batcher computes the calls that wait, those
with equal keys as one batch. Lanes need not be in step.

A backward pass does not wait inside autograd, which has only one thread for a CUDA device: see `Lane.backward`.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from tinv.models.joint_call import Call, JointGraph, attempt, is_out_of_memory
from tinv.models.lane import Lane, LaneTask

MIN_WAIT_S = 0.002
"""A waiting call waits at least so long for a lane that has just received a result."""
_POLL_S = 1.0


class CallBatcher:
    """Computes the calls of all lanes in a thread of its own."""

    def __init__(self, *, timeout_s: float = 600.0, max_rows: int | None = None):
        """Args:
        timeout_s: seconds after which it is reported what a lane waits for; a joint backward pass then goes on
            without the lanes that have not come.
        max_rows: how many samples may be between their forward and backward passes; None is no limit.
        """
        self.timeout_s, self.max_rows = timeout_s, max_rows
        self.num_calls, self.num_rows, self.seconds = 0, 0, 0.0
        """Joint forward passes with gradients, their samples, and the time of those and of all backward passes."""
        self._condition = threading.Condition()
        self._lanes: set[Lane] = set()
        self._waiting: list[Call] = []
        self._functions: list[tuple[Lane, LaneTask]] = []
        self._graphs: list[JointGraph] = []
        self._due: set[Any] = set()
        self._computed: list[Any] = []
        self._call_s = 0.05
        self._computing = ""
        self._is_closed = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="call-batcher", daemon=True)
        self._thread.start()

    @contextmanager
    def lane(self, name: str) -> Iterator[Lane]:
        """Makes the current thread a lane while the block runs."""
        lane = Lane(self, name)
        with self._condition:
            self._lanes.add(lane)
        try:
            yield lane
        finally:
            with self._condition:
                self._lanes.discard(lane)
                for graph in self._graphs:
                    graph.abandon(lane)
                self._condition.notify()

    @property
    def num_training(self) -> int:
        """The number of lanes that have made a large call with gradients."""
        with self._condition:
            return sum(lane.has_trained for lane in self._lanes)

    def close(self) -> None:
        """Ends the thread; no lane may be left."""
        with self._condition:
            self._is_closed = True
            self._condition.notify()
        self._thread.join()

    def submit(self, call: Call) -> None:
        """Waits until a call is computed."""
        with self._condition:
            self._waiting.append(call)
            self._begin_waiting(call.lane)
        self._wait(call.lane, call.done, call.operation.name)
        if call.error is not None:
            raise call.error

    def run(self, lane: Lane, function: Callable[[], Any]) -> Any:
        """Returns what a function returns that the batcher's thread calls between two calls."""
        task = LaneTask(function)
        with self._condition:
            self._functions.append((lane, task))
            self._begin_waiting(lane)
        self._wait(lane, task.done, getattr(function, "__name__", "a function"))
        if task.error is not None:
            raise task.error
        return task.result

    def backward(self, lane: Lane, calls: list[Call]) -> list[Call]:
        """Waits until the gradients of the calls' inputs are computed; returns the calls that have any."""
        used = [call for call in calls if any(gradient is not None for gradient in call.gradients or ())]
        with self._condition:
            for call in calls:
                call.answer(is_used=call in used)
                if call in used and call.graph.is_closed:  # it went on without this call
                    call.graph = JointGraph([call])
                    self._graphs.append(call.graph)
            self._begin_waiting(lane, len(used))
        for call in used:
            self._wait(lane, call.done, f"the backward pass of {call.operation.name}")
        for call in used:
            if call.error is not None:
                raise call.error
        return used

    def _begin_waiting(self, lane: Lane, num_results: int = 1) -> None:
        if self._failure is not None:
            raise RuntimeError("the thread that computes the model's calls has ended") from self._failure
        lane.num_awaited += num_results
        if lane.returned_at and num_results:
            gap = monotonic() - lane.returned_at
            lane.gap_s = gap if lane.gap_s is None else 0.8 * lane.gap_s + 0.2 * min(gap, 4 * lane.gap_s)
        self._condition.notify()

    def _end_waiting(self, lane: Lane) -> None:
        lane.num_awaited, lane.returned_at = lane.num_awaited - 1, monotonic()
        wait = self._call_s if lane.gap_s is None else min(4 * lane.gap_s, self._call_s)
        lane.expected_until = lane.returned_at + max(MIN_WAIT_S, wait)

    def _wait(self, lane: Lane, done: threading.Event, name: str) -> None:
        while not done.wait(self.timeout_s):
            others = ", ".join(sorted(other.name for other in self._lanes if not other.is_waiting)) or "none"
            computing = self._computing or "nothing"
            _report(
                f"timeout: {lane.name} has waited {self.timeout_s:g} s for {name}. The model computes {computing}; "
                f"lanes that do not wait: {others}."
            )

    def _serve(self) -> None:
        try:
            while True:
                with self._condition:
                    while (work := self._next_work()) is None:
                        if self._is_closed:
                            return
                        self._condition.wait(self._seconds_to_wait())
                work()
        except BaseException as error:  # a bug: no lane may wait forever
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        with self._condition:
            self._failure = error
            tasks: list[Any] = [task for _, task in self._functions]
            tasks += [*self._waiting, *self._computed, *(call for graph in self._graphs for call in graph.calls)]
        for task in tasks:
            task.error = error
            task.done.set()

    def _next_work(self) -> Callable[[], None] | None:
        if self._functions:
            lane, task = self._functions.pop(0)
            return lambda: self._call_function(lane, task)
        self._graphs = [graph for graph in self._graphs if not graph.is_closed]
        for graph in self._graphs:
            if graph.is_answered or self._is_overdue(graph):
                graph.is_closed = True
                return lambda: self._run_backward(graph)
        calls = self._due_calls()
        return (lambda: self._run_forward(calls)) if calls else None

    def _due_calls(self) -> list[Call]:
        """Returns the calls to join next: none while a lane that has just received a result is expected."""
        if not (allowed := self._within_memory(self._waiting)):
            return []
        keys = dict.fromkeys(call.joint_key for call in allowed)
        self._due &= keys.keys()
        if not self._due:
            now = monotonic()
            if any(not lane.is_waiting and lane.expected_until > now for lane in self._lanes):
                return []
            first = min(call.operation.order for call in allowed)
            self._due = {call.joint_key for call in allowed if call.operation.order == first}
        key = next(key for key in keys if key in self._due)
        self._due.remove(key)
        calls = self._within_memory([call for call in allowed if call.joint_key == key])
        self._waiting = [call for call in self._waiting if call not in calls]
        return calls

    def _within_memory(self, waiting: list[Call]) -> list[Call]:
        """Returns the calls that may run now. A lane that holds a graph may always go on: others wait for it."""
        if self.max_rows is None:
            return waiting
        graphs = [graph for graph in self._graphs if graph.operation.is_large]
        holders = {call.lane for graph in graphs for call in graph.calls}
        rows, allowed = sum(graph.num_rows for graph in graphs), []
        for call in waiting:
            is_counted = call.needs_grad and call.operation.is_large
            if not is_counted or call.lane in holders or rows == 0 or rows + call.num_rows <= self.max_rows:
                allowed.append(call)
                rows += call.num_rows if is_counted else 0
        return allowed

    def _is_overdue(self, graph: JointGraph) -> bool:
        """Whether the lanes that have called backward have waited too long for the others."""
        since = graph.waiting_since
        if since is None or monotonic() - since < self.timeout_s:
            return False
        late = [call.lane for call in graph.calls if not call.is_answered]
        names = ", ".join(lane.name for lane in late)
        stacks = "".join(lane.format_stack() for lane in late)
        _report(
            f"timeout: the backward pass of {graph.operation.name} has waited {self.timeout_s:g} s for {names}, and "
            f"goes on without.\n{stacks}"
        )
        for lane in late:
            graph.abandon(lane)
        return True

    def _seconds_to_wait(self) -> float | None:
        if not self._waiting:
            return _POLL_S if self._graphs else None
        now = monotonic()
        until = [lane.expected_until - now for lane in self._lanes if not lane.is_waiting and lane.expected_until > now]
        return min(max(min(until, default=_POLL_S), 1e-4), _POLL_S)

    def _call_function(self, lane: Lane, task: LaneTask) -> None:
        self._computing, self._computed = f"{getattr(task.function, '__name__', 'a function')} of {lane.name}", [task]
        try:
            task.result = task.function()
        except BaseException as error:
            task.error = error
        self._finish(lane, task.done)

    def _run_forward(self, calls: list[Call]) -> None:
        self._begin(calls[0].operation.name, calls)
        start, graph = monotonic(), JointGraph(calls)
        if failure := attempt(graph.forward):
            del graph
            self._handle_failure(calls, failure)
            return
        if graph.needs_grad:
            with self._condition:
                self._graphs.append(graph)
            if graph.operation.is_large:
                self._measure(start)
                self.num_calls, self.num_rows = self.num_calls + 1, self.num_rows + graph.num_rows
        for call in calls:
            call.lane.has_trained |= graph.needs_grad and graph.operation.is_large
            self._finish(call.lane, call.done)

    def _handle_failure(self, calls: list[Call], error: Exception) -> None:
        """Computes the calls of a failed batch in smaller ones, so that an error reaches only its own lane."""
        if is_out_of_memory(error):
            live_rows = sum(graph.num_rows for graph in self._graphs if graph.operation.is_large)
            rows = sum(call.num_rows for call in calls)
            if calls[0].needs_grad and (live_rows or len(calls) > 1):
                self.max_rows = max(1, (live_rows + rows) // 2 if len(calls) > 1 else live_rows)
                with self._condition:
                    self._waiting[:0] = calls
                    if self._within_memory(calls) != calls:
                        return
                    self._waiting = [call for call in self._waiting if call not in calls]
        if len(calls) == 1:
            calls[0].error = error
            self._finish(calls[0].lane, calls[0].done)
            return
        for part in (calls[: len(calls) // 2], calls[len(calls) // 2 :]):
            self._run_forward(part)

    def _run_backward(self, graph: JointGraph) -> None:
        start, calls = monotonic(), [call for call in graph.calls if call.is_used]
        self._begin(f"the backward pass of {graph.operation.name}", calls)
        failure = attempt(graph.backward) if calls else None
        graph.release()
        if failure:
            self._retry_backward(calls, failure)
        if graph.operation.is_large:
            self._measure(start)
        for call in calls:
            self._finish(call.lane, call.done)

    def _retry_backward(self, calls: list[Call], error: Exception) -> None:
        """Computes the calls of a failed backward pass again, in smaller batches."""
        if is_out_of_memory(error):
            rows = sum(call.num_rows for call in calls)
            self.max_rows = max(1, min(self.max_rows or rows, rows) // 2)
        if len(calls) == 1:
            calls[0].error = error
            return
        for part in (calls[: len(calls) // 2], calls[len(calls) // 2 :]):
            if failure := attempt(JointGraph(part).backward):
                self._retry_backward(part, failure)

    def _begin(self, name: str, calls: list[Call]) -> None:
        self._computing, self._computed = f"{name} of {', '.join(call.lane.name for call in calls)}", calls

    def _measure(self, start: float) -> None:
        seconds = monotonic() - start
        self.seconds += seconds
        self._call_s = 0.7 * self._call_s + 0.3 * seconds

    def _finish(self, lane: Lane, done: threading.Event) -> None:
        with self._condition:
            self._computing = ""
            self._end_waiting(lane)
        done.set()


def _report(message: str) -> None:
    print(message, file=sys.__stderr__, flush=True)
