"""Keeps the frozen model between the runs of a sweep that run one after the other in this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tinv.runs.lane import current_lane


class ModelCache:
    """Holds at most one model.

    A run removes the model and puts it back when it succeeds. After a run that failed or changed the model, the next
    run loads it again.
    """

    def __init__(self) -> None:
        self._model: Any = None
        self._settings = ""
        self._condition: list[Any] = []

    def get(self, settings: str, load: Callable[[], Any]) -> Any:
        """Removes and returns the model with these settings, or loads it; first releases one with other settings."""
        model, self._model = self._model, None
        if model is None or settings != self._settings:
            del model
            model = load()
            self._settings, self._condition = settings, _condition(model)
        return model

    def put(self, model: Any) -> None:
        """Keeps the model for the next run, unless it has changed since it was loaded."""
        if _condition(model) == self._condition:
            self._model = model


_cache: ModelCache | None = None


@contextmanager
def keep_model() -> Iterator[None]:
    """Keeps the model between the runs of the block."""
    global _cache
    _cache = ModelCache()
    try:
        yield
    finally:
        _cache = None


def get(settings: str, load: Callable[[], Any]) -> Any:
    """Returns the model with these settings: that of the thread's lane, the one in the sweep's cache, or a new one."""
    if lane := current_lane():
        return lane.get_model(settings, load)
    return _cache.get(settings, load) if _cache else load()


def put(model: Any) -> None:
    """Hands the model to the next run of the sweep; does nothing outside of a sweep."""
    if _cache and current_lane() is None:
        _cache.put(model)


def _condition(model: Any) -> list[Any]:
    """Returns what a run could change: dtype, device, requires_grad, training mode, and version counters of weights."""
    modules = [*model.modules(), *model.vae.modules()]
    tensors = [tensor for module in (model, model.vae) for tensor in (*module.parameters(), *module.buffers())]
    state = [(tensor.dtype, tensor.device, tensor.requires_grad, tensor._version) for tensor in tensors]
    return [*state, *(module.training for module in modules)]
