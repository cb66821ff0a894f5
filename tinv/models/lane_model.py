"""A frozen model that several threads share, each as if it had one of its own.

A lane's model has its own tokenizers, hooks and learned vectors, and the weights of the shared one. Its denoiser and
text encoders hand their calls over to a `CallBatcher`.

B batch, L tokens, K learned vectors, D width.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial, wraps
from inspect import signature
from typing import Any, Self

import torch
from torch import Tensor, nn

from tinv.models.base import LatentDiffusion
from tinv.models.batching import CallBatcher
from tinv.models.conditioning import route_by_layer
from tinv.models.joint_call import Operation
from tinv.models.lane import Lane
from tinv.models.text_encoder import TextEncoder
from tinv.models.vae import OffloadedModule

_TEXT, _DENOISER = 0, 1
"""The order of the operations: conditioning is an input of the denoiser."""
_POSITIONS = ("txt_ids", "img_ids")
"""Arguments of Flux.1 and Chroma without a batch dimension, which are functions of the other arguments' shapes."""
_JOINED_TRANSFORMERS = (
    "ChromaTransformer2DModel",
    "FluxTransformer2DModel",
    "PixArtTransformer2DModel",
    "SD3Transformer2DModel",
    "SanaTransformer2DModel",
)
"""Transformers whose other arguments all have a batch dimension; those of other families are called one by one."""


class SharedModel:
    """The model that the lanes share, and what computes their calls."""

    def __init__(self, model: LatentDiffusion, batcher: CallBatcher):
        """Prepares a model that is loaded and on its device."""
        self.model, self.batcher = model, batcher
        self.encoding = threading.Lock()
        """Held while a lane encodes its images, so that the next one finds them in the cache."""
        if model.family.has_unet:
            route_by_layer(model.unet)  # ordinary conditioning passes unchanged
        else:
            _ = model.prompt_encoder  # sets where the text encoders pool
        denoiser = model.family.denoiser[0]
        self.denoiser = Operation(denoiser, _DENOISER, self._denoise, is_large=True)
        self.encoders = {
            role: Operation(f"text encoder {role}", _TEXT, partial(self._encode, encoder))
            for role, encoder in model.text_encoders.items()
        }
        joined = model.family.has_unet or type(model.denoiser).__name__ in _JOINED_TRANSFORMERS
        self.joins_denoiser = joined

    def _denoise(
        self, inputs: dict[str, Tensor], options: Mapping[str, Any], sizes: Mapping[str, Sequence[int]]
    ) -> Any:
        return self.model.denoiser(**_unflatten({**inputs, **options}))

    def _encode(
        self,
        encoder: TextEncoder,
        inputs: dict[str, Tensor],
        options: Mapping[str, Any],
        sizes: Mapping[str, Sequence[int]],
    ) -> Any:
        """Encodes the ids of all lanes; the learned vectors of each lane follow those of the lanes before it."""
        arguments, first_id = {**inputs, **options}, options["first_id"]
        del arguments["first_id"]
        vectors_KD = arguments.pop("vectors", None)
        if len(sizes["input_ids"]) > 1 and vectors_KD is not None:
            counts = torch.tensor([0, *sizes["vectors"][:-1]]).cumsum(0)
            ids_BL = arguments["input_ids"]
            offsets_B = counts.repeat_interleave(torch.tensor(sizes["input_ids"])).to(ids_BL.device)
            arguments["input_ids"] = torch.where(ids_BL >= first_id, ids_BL + offsets_B[:, None], ids_BL)
        with encoder.token_lookup.with_vectors(vectors_KD, first_id):
            return encoder.encoder(**arguments)


class LaneModel(LatentDiffusion):
    """A lane's model."""

    joins_calls = True

    def __init__(self, shared: SharedModel, lane: Lane):
        model, family = shared.model, shared.model.family
        names = [name for name in family.modules if name != "vae"]
        components = {name: _copy_structure(getattr(model, name)) for name in names}
        components |= {name: deepcopy(getattr(model, name)) for name in family.tokenizers}
        super().__init__(
            family,
            {**components, "scheduler": model.scheduler, "vae": model.vae},
            name=model.name,
            revision=model.revision,
            pipeline_settings=model.pipeline_settings,
        )
        self._shared, self._lane = shared, lane
        self.offloaded_vae = _LaneVae(shared)
        _redirect(self.denoiser, self._call_denoiser)
        for role, encoder in self.text_encoders.items():
            _redirect(encoder.encoder, partial(self._call_encoder, role, encoder))

    def backward(self, loss: Tensor) -> None:
        """As for any model; computes the backward passes of several lanes at once."""
        self._lane.backward(loss)

    def encode_images(self, pixels_B3HW: Tensor) -> Tensor:
        """As for any model; images are encoded one by one, so that the cached moments do not depend on other lanes."""
        vae: Any = self.offloaded_vae
        model = self._shared.model

        def encode() -> Tensor:
            with model.offloaded_vae.on(vae.device):
                return model.encode_images(pixels_B3HW)

        moments: Tensor = self._lane.run(encode)
        return moments

    def decode_latents(self, x_BChw: Tensor, *, is_scaled: bool = True) -> Tensor:
        """As for any model."""
        pixels: Tensor = self._lane.run(lambda: self._shared.model.decode_latents(x_BChw, is_scaled=is_scaled))
        return pixels

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Does nothing: Lightning moves a run's model to the device, and back when the run has ended."""
        return self

    def _call_denoiser(self, bound: Mapping[str, Any]) -> Any:
        arguments = _flatten(bound)
        size = len(next(value for value in arguments.values() if isinstance(value, Tensor)))
        time = arguments.get("timestep")
        if isinstance(time, Tensor) and time.ndim == 0:
            arguments["timestep"] = time.expand(size)
        inputs = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
        options = {name: value for name, value in arguments.items() if name not in inputs}
        if self._shared.joins_denoiser:
            options |= {name: inputs.pop(name) for name in _POSITIONS if name in inputs}
        is_joined = self._shared.joins_denoiser and all(
            tensor.ndim > 0 and len(tensor) == size for tensor in inputs.values()
        )
        key = tuple((name, _describe(value)) for name, value in options.items()) if is_joined else None
        return self._lane.call(self._shared.denoiser, inputs, options, key=key)

    def _call_encoder(self, role: str, encoder: TextEncoder, bound: Mapping[str, Any]) -> Any:
        lookup = encoder.token_lookup
        if not self.family.has_unet:
            with torch.no_grad():
                lookup(bound["input_ids"])  # for the hook that reads the ids
        inputs = {name: value for name, value in bound.items() if isinstance(value, Tensor)}
        options = {name: value for name, value in bound.items() if name not in inputs}
        size = len(bound["input_ids"])
        is_joined = all(len(tensor) == size for tensor in inputs.values())
        if lookup.learned is not None:
            inputs["vectors"] = lookup.learned[0]
        options["first_id"] = lookup.num_embeddings if lookup.learned is None else lookup.learned[1]
        key = tuple((name, _describe(value)) for name, value in options.items()) if is_joined else None
        return self._lane.call(self._shared.encoders[role], inputs, options, key=key)


class _LaneVae(OffloadedModule[Any]):
    """The VAE as a lane sees it: `on` waits until no other lane encodes its images."""

    def __init__(self, shared: SharedModel):
        super().__init__(shared.model.vae)
        self._encoding = shared.encoding
        self.device: torch.device | str = "cpu"

    @contextmanager
    def on(self, device: torch.device | str) -> Iterator[Any]:
        """Remembers the device for `LaneModel.encode_images`."""
        with self._encoding:
            self.device = device
            yield self.module


def _copy_structure(module: nn.Module) -> nn.Module:
    """Returns a copy with the same tensors but modules and hooks of its own."""
    tensors = (*module.parameters(), *module.buffers())
    return deepcopy(module, {id(tensor): tensor for tensor in tensors})


def _redirect(module: nn.Module, call: Callable[[dict[str, Any]], Any]) -> None:
    """Makes a module's forward pass call a function with its arguments by name."""
    original = module.forward
    names = [*signature(original).parameters]

    @wraps(original)
    def forward(*positional: Any, **named: Any) -> Any:
        return call({**dict(zip(names, positional)), **named})

    module.forward = forward


def _flatten(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments in which nested mappings have dotted names, and lists numbered ones."""
    flat: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{name}.{key}": item for key, item in _flatten(value).items()}
        elif isinstance(value, list) and any(isinstance(item, Tensor) for item in value):
            flat |= {f"{name}[{number}]": item for number, item in enumerate(value)}
        else:
            flat[name] = value
    return flat


def _unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments that `_flatten` has got."""
    arguments: dict[str, Any] = {}
    for name, value in flat.items():
        first, _, inner = name.partition(".")
        if inner:
            arguments.setdefault(first, {})[inner] = value
        elif name.endswith("]"):
            arguments.setdefault(name.partition("[")[0], []).append(value)
        else:
            arguments[name] = value
    return {name: _unflatten(value) if isinstance(value, dict) else value for name, value in arguments.items()}


def _describe(value: Any) -> Any:
    """Returns what has to be equal in calls that are joined."""
    return (value.shape, value.dtype) if isinstance(value, Tensor) else repr(value)
