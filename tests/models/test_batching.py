"""Calls of several threads, joined into batches."""

import contextlib
import os
import random
import sys
import threading
import time
from functools import partial

import pytest
import torch

from tests.models.lanes import run_lanes
from tinv.models.batching import CallBatcher
from tinv.models.joint_call import Operation

SIZES = (1, 3, 2, 1)


class Layer:
    """sin(x W), which records the length of each batch and fails above a limit."""

    def __init__(self, limit=None, in_backward=False):
        self.weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
        self.limit, self.in_backward, self.lengths = limit, in_backward, []
        self.operation = Operation("layer", 1, self.compute, is_large=True)

    def compute(self, inputs, options, sizes):
        x = inputs["x"]
        self.lengths.append(len(x))
        if x.isinf().any():
            raise ValueError("infinite")
        if self.limit and len(x) > self.limit and not self.in_backward:
            raise torch.OutOfMemoryError("too long")
        y = torch.sin(x @ self.weight)
        if self.limit and len(x) > self.limit and x.requires_grad:
            y.register_hook(self.fail)
        return (y,)

    def fail(self, gradient):
        raise torch.OutOfMemoryError("too long")


def leaf(number, length):
    return torch.randn(length, 4, generator=torch.Generator().manual_seed(number)).requires_grad_()


def train(layer, number, length, lane, steps=1):
    """The gradients of some steps."""
    gradients = []
    for step in range(steps):
        x = leaf(100 * step + number, length)
        (y,) = lane.call(layer.operation, {"x": 2 * x}, {}, key="equal")
        lane.backward(y.square().sum())
        gradients.append(x.grad)
    return torch.cat(gradients)


def expected(layer, number, length, steps=1):
    gradients = []
    for step in range(steps):
        x = leaf(100 * step + number, length)
        torch.sin(2 * x @ layer.weight).square().sum().backward()
        gradients.append(x.grad)
    return torch.cat(gradients)


def test_calls_that_wait_are_one_batch_with_the_gradients_of_each_alone():
    layer, batcher = Layer(), CallBatcher()
    results = run_lanes(batcher, [partial(train, layer, i, n) for i, n in enumerate(SIZES)])
    for i, (result, length) in enumerate(zip(results, SIZES, strict=True)):
        torch.testing.assert_close(result, expected(layer, i, length), rtol=1e-5, atol=1e-6)
    assert sum(layer.lengths) == sum(SIZES) and len(layer.lengths) < len(SIZES)


@pytest.mark.parametrize("in_backward", [False, True])
@pytest.mark.parametrize("limit", [3, 4])
def test_after_a_failed_allocation_batches_are_smaller_and_nothing_is_lost(limit, in_backward):
    layer, batcher = Layer(limit, in_backward), CallBatcher()
    results = run_lanes(batcher, [partial(train, layer, i, n, steps=4) for i, n in enumerate(SIZES)])
    for i, (result, length) in enumerate(zip(results, SIZES, strict=True)):
        torch.testing.assert_close(result, expected(layer, i, length, steps=4), rtol=1e-5, atol=1e-6)
    assert batcher.max_rows is None or batcher.max_rows < sum(SIZES)


def test_a_call_that_fits_into_no_memory_raises_in_its_lane_alone():
    layer, batcher = Layer(limit=2), CallBatcher()
    results = run_lanes(batcher, [partial(train, layer, i, n, steps=2) for i, n in enumerate(SIZES)])
    assert [isinstance(result, torch.OutOfMemoryError) for result in results] == [False, True, False, False]
    torch.testing.assert_close(results[2], expected(layer, 2, 2, steps=2), rtol=1e-5, atol=1e-6)


def test_an_error_reaches_only_the_lane_whose_call_fails():
    layer, batcher = Layer(), CallBatcher()

    def fail(lane):
        lane.call(layer.operation, {"x": torch.full((1, 4), torch.inf).requires_grad_()}, {}, key="equal")

    results = run_lanes(batcher, [partial(train, layer, 0, 2), fail, partial(train, layer, 2, 1)])
    assert isinstance(results[1], ValueError)
    for i, length in ((0, 2), (2, 1)):
        torch.testing.assert_close(results[i], expected(layer, i, length), rtol=1e-5, atol=1e-6)


def test_a_lane_that_ends_before_its_backward_pass_leaves_the_others_alone():
    layer, batcher = Layer(), CallBatcher()

    def leave(lane):
        lane.call(layer.operation, {"x": leaf(1, 1)}, {}, key="equal")
        raise KeyError("left")

    results = run_lanes(batcher, [partial(train, layer, 0, 2, steps=3), leave])
    assert isinstance(results[1], KeyError)
    torch.testing.assert_close(results[0], expected(layer, 0, 2, steps=3), rtol=1e-5, atol=1e-6)


def test_what_a_late_lane_delays_is_reported_and_goes_on_and_the_lane_has_its_gradient_later(capfd, monkeypatch):
    layer, batcher, is_done = Layer(), CallBatcher(timeout_s=0.3), threading.Event()

    def train_late(lane):
        x = leaf(1, 1)
        (y,) = lane.call(layer.operation, {"x": 2 * x}, {}, key="equal")
        assert is_done.wait(60)
        lane.backward(y.square().sum())
        return x.grad

    def train_early(lane):
        gradient = train(layer, 0, 2, lane)
        is_done.set()
        return gradient

    monkeypatch.setattr("sys.__stderr__", sys.stderr)
    results = run_lanes(batcher, [train_early, train_late])
    for i, length in ((0, 2), (1, 1)):
        torch.testing.assert_close(results[i], expected(layer, i, length), rtol=1e-5, atol=1e-6)
    if layer.lengths[0] == 3:  # they were one batch
        assert "the backward pass of layer has waited 0.3 s for lane 1" in capfd.readouterr().err


def test_calls_with_and_without_gradients_and_of_different_shapes_are_not_joined():
    layer, batcher = Layer(), CallBatcher()

    def sample(lane):
        with torch.inference_mode():
            (y,) = lane.call(layer.operation, {"x": leaf(5, 2)}, {}, key="equal")
            return y

    results = run_lanes(batcher, [partial(train, layer, 0, 1), sample, sample])
    torch.testing.assert_close(results[1], torch.sin(leaf(5, 2) @ layer.weight).detach())
    assert 1 in layer.lengths and 3 not in layer.lengths and 5 not in layer.lengths


def test_a_function_runs_alone_and_its_error_is_that_of_the_lane():
    def fail():
        raise OSError("no file")

    results = run_lanes(CallBatcher(), [lambda lane: lane.run(lambda: 5), lambda lane: lane.run(fail)])
    assert results[0] == 5 and isinstance(results[1], OSError)


class Events:
    """What happens to a point at each step, as a function of a seed, the point and the step."""

    KINDS = ("raise before", "raise between", "fail", "stop", "sample", "wait", "skip")

    def __init__(self, seed, rate):
        self.seed, self.rate, self.num_events = seed, rate, 0

    def at(self, point, step):
        rng = random.Random(f"{self.seed} {point} {step}")
        return rng.choice(self.KINDS) if rng.random() < self.rate else None


def run_point(layer, events, number, call, backward):
    """The steps that a point makes, and its vectors after the last one; `call` and `backward` compute."""
    x, steps = leaf(number, 1 + number % 3).detach(), []
    for step in range(30):
        event = events.at(number, step)
        events.num_events += event is not None
        if event == "raise before":
            return "raised", steps, x
        if event == "sample":
            with torch.no_grad():
                call(x)
        if event == "fail":
            with contextlib.suppress(ValueError):
                call(torch.full_like(x, torch.inf))
            return "failed", steps, x
        x = x.clone().requires_grad_()
        y = call(2 * x)
        if event == "raise between":
            return "raised", steps, x.detach()
        if event == "wait":
            time.sleep(0.005)
        if event != "skip":
            backward(y.square().sum())
            x = x.detach() - 0.05 * x.grad
        x = x.detach()
        steps.append(step)
        if event == "stop":
            return "stopped", steps, x
    return "done", steps, x


@pytest.mark.parametrize("limit", [None, 5])
def test_among_random_events_no_lane_loses_or_repeats_a_step_or_waits_forever(limit):
    """Points that raise, fail, stop early, sample and dawdle, with more points than lanes, and too little memory."""
    scale, seed = float(os.environ.get("TINV_FUZZ_SCALE", 1)), os.environ.get("TINV_FUZZ_SEED", 0)
    layer, batcher, events = Layer(limit), CallBatcher(timeout_s=5), Events(seed, rate=0.1)
    numbers, results = iter(range(round(30 * scale))), {}
    lock = threading.Lock()

    def work(lane):
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            with batcher.lane(f"point {number}") as own:

                def call(x, own=own):
                    return own.call(layer.operation, {"x": x}, {}, key="equal")[0]

                results[number] = run_point(layer, events, number, call, own.backward)

    run_lanes(batcher, [work] * 6)
    assert len(results) == round(30 * scale) and events.num_events >= 40 * scale
    for number, (end, steps, x) in results.items():
        alone = Layer()

        def call(x, alone=alone):
            return alone.compute({"x": x}, {}, {})[0]

        expected_end, expected_steps, expected_x = run_point(alone, events, number, call, torch.Tensor.backward)
        assert (end, steps) == (expected_end, expected_steps)
        torch.testing.assert_close(x, expected_x, rtol=1e-4, atol=1e-5)
