"""Runs a training script of diffusers' kind, unchanged, and writes down what it computes.

    python -m bench.reference.record RECORDING SCRIPT [the script's own flags ...]

What the script calls in torch, diffusers and transformers is listened to; the script itself is not touched. B batch,
C latent channels, H W picture, h w latents, L tokens, K rows, D width.
"""

import argparse
import functools
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers.models.autoencoders.vae as posterior
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from transformers import CLIPTextModel, CLIPTextModelWithProjection, PreTrainedTokenizerBase


class Recorder:
    """Listens while it is installed."""

    def __init__(self, num_vectors: int):
        """Args:
        num_vectors: K: the script's rows are the last K of each vocabulary.
        """
        self.num_vectors = num_vectors
        self.batches: list[dict[str, Any]] = []
        self.steps: list[dict[str, list[Tensor]]] = []
        self.start: list[Tensor] = []
        self.texts: dict[tuple[int, ...], str] = {}
        self._open: dict[str, Any] | None = None  # the micro-batch between its encoding and its loss

    def install(self) -> None:
        """Listen to everything that a step goes through, in the order in which it does."""
        listen(PreTrainedTokenizerBase, "__call__", self._tokenized)
        listen(AutoencoderKL, "encode", self._encoded)
        listen(posterior, "randn_tensor", lambda drawn, *_, **__: self._note(posterior=drawn))
        listen(torch, "randn_like", lambda drawn, *_, **__: self._note(noise=drawn))
        listen(torch, "randint", lambda drawn, *_, **__: self._note(timesteps=drawn))
        register_module_forward_hook(self._computed, with_kwargs=True)
        listen(torch.nn.functional, "mse_loss", self._measured)
        register_optimizer_step_pre_hook(self._about_to_step)
        register_optimizer_step_post_hook(lambda optimizer, *_: self.steps[-1].update(rows=self._rows(optimizer)))

    def content(self) -> dict[str, Any]:
        """Plain lists and dicts of tensors."""
        return {"batches": self.batches, "steps": self.steps, "start": self.start}

    def _note(self, **heard: Any) -> None:
        """Keep what is heard for the first time in a micro-batch: the next of its kind is somebody else's."""
        if self._open is not None:
            for name, value in heard.items():
                self._open.setdefault(name, _copy(value))

    def _tokenized(self, result: Any, tokenizer: Any, text: Any, *_: Any, **__: Any) -> None:
        if isinstance(text, str):
            self.texts[tuple(torch.as_tensor(result.input_ids).flatten().tolist())] = text

    def _encoded(self, result: Any, vae: Any, pixels_B3HW: Tensor, *_: Any, **__: Any) -> None:
        self._open = {"ids": {}}
        self._note(pixels=pixels_B3HW, moments=result.latent_dist.parameters)

    def _computed(self, module: Any, arguments: tuple[Any, ...], named: dict[str, Any], result: Any) -> None:
        if self._open is None:
            return
        if isinstance(module, CLIPTextModel | CLIPTextModelWithProjection):
            ids_BL = arguments[0] if arguments else named["input_ids"]
            self._open["ids"].setdefault(id(module.get_input_embeddings()), _copy(ids_BL))
        elif isinstance(module, UNet2DConditionModel):
            self._note(noisy=arguments[0], hidden=arguments[2], predicted=result[0])
            for name, value in (named.get("added_cond_kwargs") or {}).items():
                self._note(**{name: value})

    def _measured(self, loss: Tensor, *_: Any, **__: Any) -> None:
        if self._open is not None:
            self._note(loss=loss)
            ids = list(self._open.pop("ids").values())
            self._open["captions"] = [self.texts[tuple(row)] for row in ids[0].tolist()]
            self.batches.append({**self._open, "ids": ids})
            self._open = None

    def _about_to_step(self, optimizer: Any, *_: Any) -> None:
        self.start = self.start or self._rows(optimizer)
        gradients = [_copy(parameter.grad[-self.num_vectors :]) for parameter in _parameters(optimizer)]
        self.steps.append({"gradient": gradients})

    def _rows(self, optimizer: Any) -> list[Tensor]:
        return [_copy(parameter[-self.num_vectors :]) for parameter in _parameters(optimizer)]


def _parameters(optimizer: Any) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _copy(value: Tensor) -> Tensor:
    return value.detach().cpu().clone()


def listen(place: Any, name: str, tell: Callable[..., None]) -> None:
    """Have every call of a function told, with its result first."""
    original = getattr(place, name)

    @functools.wraps(original)
    def call(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        tell(result, *arguments, **named)
        return result

    setattr(place, name, call)


def main(recording: str, script: str, *flags: str) -> None:
    """Run the script as if it had been typed, and write the recording."""
    counter = argparse.ArgumentParser(add_help=False)
    counter.add_argument("--num_vectors", type=int, default=1)
    recorder = Recorder(counter.parse_known_args(flags)[0].num_vectors)
    recorder.install()
    sys.argv = [script, *flags]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")
    torch.save(recorder.content(), recording)


if __name__ == "__main__":
    main(*sys.argv[1:])
