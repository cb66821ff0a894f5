"""Functions that run at once, each in a thread that is a lane."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from tinv.models.batching import CallBatcher
from tinv.models.lane import Lane
from tinv.models.lane_model import LaneModel, SharedModel


def run_lanes(batcher: CallBatcher, functions: Sequence[Callable[[Lane], Any]]) -> list[Any]:
    """What each function returns, or the exception that it raises. They start together."""
    results: list[Any] = [None] * len(functions)
    start = threading.Barrier(len(functions))

    def run(number: int) -> None:
        with batcher.lane(f"lane {number}") as lane:
            start.wait()
            try:
                results[number] = functions[number](lane)
            except Exception as error:
                results[number] = error

    threads = [threading.Thread(target=run, args=[number], daemon=True) for number in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads), "a lane waits forever"
    batcher.close()
    return results


def with_lane_models(
    model: Any, functions: Sequence[Callable[[LaneModel], Any]], **options: Any
) -> tuple[list[Any], CallBatcher]:
    """What functions of a lane's model return, and the batcher; the first exception is raised."""
    batcher = CallBatcher(**options)
    shared = SharedModel(model, batcher)
    results = run_lanes(
        batcher, [lambda lane, function=function: function(LaneModel(shared, lane)) for function in functions]
    )
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results, batcher
