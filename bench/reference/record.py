"""Runs a training script of diffusers' kind, unchanged, and records its tensors.

    python -m bench.reference.record RECORDING SCRIPT [the script's flags ...]

It observes the script's calls of torch, diffusers and transformers. B batch, C latent channels, H W image, h w latents,
L tokens, K vectors, D width.
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
    """Collects the tensors of each micro-batch and step after `install`."""

    def __init__(self, num_vectors: int):
        """Args:
        num_vectors: K: the script trains the last K rows of each token table.
        """
        self.num_vectors = num_vectors
        self.batches: list[dict[str, Any]] = []
        self.steps: list[dict[str, list[Tensor]]] = []
        self.start: list[Tensor] = []
        self.texts: dict[tuple[int, ...], str] = {}
        self._open: dict[str, Any] | None = None  # the micro-batch between its encoding and its loss

    def install(self) -> None:
        """Observe all functions of a training step, in their order."""
        observe(PreTrainedTokenizerBase, "__call__", self._tokenized)
        observe(AutoencoderKL, "encode", self._encoded)
        observe(posterior, "randn_tensor", lambda drawn, *_, **__: self._note(posterior=drawn))
        observe(torch, "randn_like", lambda drawn, *_, **__: self._note(noise=drawn))
        observe(torch, "randint", lambda drawn, *_, **__: self._note(timesteps=drawn))
        register_module_forward_hook(self._computed, with_kwargs=True)
        observe(torch.nn.functional, "mse_loss", self._measured)
        register_optimizer_step_pre_hook(self._about_to_step)
        register_optimizer_step_post_hook(lambda optimizer, *_: self.steps[-1].update(rows=self._rows(optimizer)))

    def content(self) -> dict[str, Any]:
        """Plain lists and dicts of tensors."""
        return {"batches": self.batches, "steps": self.steps, "start": self.start}

    def _note(self, **values: Any) -> None:
        """Record the first value of each name in a micro-batch; later ones have other sources."""
        if self._open is not None:
            for name, value in values.items():
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


def observe(owner: Any, name: str, callback: Callable[..., None]) -> None:
    """Call `callback(result, *arguments)` after every call of a function."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def call(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        callback(result, *arguments, **named)
        return result

    setattr(owner, name, call)


def main(recording: str, script: str, *flags: str) -> None:
    """Run the script as `__main__` and save the recording."""
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
