"""The frozen model of the last run, for the next one that asks for the same.

Only used during a sweep whose points run one after the other in this process. A run takes the model away and puts it
back when it has gone well: after one that failed, or left the model otherwise than it was, the next one loads it anew.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class ModelCache:
    """Holds one model, or none."""

    def __init__(self) -> None:
        self._model: Any = None
        self._settings = ""
        self._condition: list[Any] = []

    def get(self, settings: str, load: Callable[[], Any]) -> Any:
        """The model with these settings, loaded if it is not there; one with others is let go of first."""
        model, self._model = self._model, None
        if model is None or settings != self._settings:
            del model
            model = load()
            self._settings, self._condition = settings, _condition(model)
        return model

    def put(self, model: Any) -> None:
        """Keep the model for the next run, if it is as it was when it was loaded."""
        if _condition(model) == self._condition:
            self._model = model


_shelf: ModelCache | None = None


@contextmanager
def kept() -> Iterator[None]:
    """Keep the model between the runs of the block."""
    global _shelf
    _shelf = ModelCache()
    try:
        yield
    finally:
        _shelf = None


def get(settings: str, load: Callable[[], Any]) -> Any:
    """The model with these settings: the one that was kept, or one that is loaded now."""
    return _shelf.get(settings, load) if _shelf else load()


def put(model: Any) -> None:
    """Let the next run have the model. Without a sweep there is none."""
    if _shelf:
        _shelf.put(model)


def _condition(model: Any) -> list[Any]:
    """What a run could have changed: precision, place, gradients, mode, and by their counters the numbers."""
    modules = [*model.modules(), *model.vae.modules()]
    tensors = [tensor for module in (model, model.vae) for tensor in (*module.parameters(), *module.buffers())]
    state = [(tensor.dtype, tensor.device, tensor.requires_grad, tensor._version) for tensor in tensors]
    return [*state, *(module.training for module in modules)]
