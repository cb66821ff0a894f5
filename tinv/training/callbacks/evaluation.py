"""Measures the quality of each concept on a few samples during training."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from tinv.data.images import open_image
from tinv.embeddings import LearnedToken
from tinv.errors import UserError
from tinv.evaluation.metrics.feature_extractors import FeatureExtractors, LocatedExtractors, default_preset
from tinv.evaluation.metrics.measure import SLOT, References, measure
from tinv.evaluation.metrics.prompts import few_prompts_for
from tinv.models.sampling import sample_pixels, to_images
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.callbacks.logging import log_metrics
from tinv.training.callbacks.timing import Stopwatch

LOGGED = ("clip_i", "clip_t", "dino", "score")
"""Logged as `eval/clip_i`; in a run of several concepts this is the mean, and each has its `eval/clip_i/cat-toy`."""


class Evaluation(Callback):
    """Logs `eval/clip_i`, `eval/clip_t`, `eval/score` and, with a DINO model, `eval/dino`, from step 0 on.

    They can be monitored: `early_stopping=patience`, `keep=best`, `monitor=eval/score`. `tinv evaluate` measures the
    result on more samples; docs/evaluation.md defines the metrics.
    """

    def __init__(
        self,
        every_n_steps: int | None = None,
        prompts: Sequence[str] | None = None,
        seeds: Sequence[int] = (0, 1, 2, 3),
        num_inference_steps: int = 20,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        class_noun: str | None = None,
        feature_extractors: Literal["toybox", "clip", "dinov2"] | None = None,
        batch_size: int = 8,
    ):
        """Args:
            every_n_steps: interval in optimizer steps; None turns the evaluation off.
            prompts: prompts to draw from, with `{}` for the placeholder token; None is four for an object, or a style.
            seeds: seeds of the initial noise; each prompt is sampled once per seed.
            num_inference_steps: steps of the sampler.
            guidance_scale: scale of classifier-free guidance; None is the model's usual one, for the toybox 4.5.
            negative_prompt: prompt to steer away from.
            class_noun: plain noun for the concept; None is the initializer token.
            feature_extractors: models that embed the samples; None is the choice for the model.
            batch_size: images sampled at once; affects only memory and speed.

        Raises:
            UserError: no seed, or a prompt without `{}`.
        """
        self._every = EveryNSteps(every_n_steps, setting="callbacks.evaluation.every_n_steps")
        self.is_on = every_n_steps is not None
        if not seeds:
            raise UserError("callbacks.evaluation.seeds: needs a seed. every_n_steps=null turns the evaluation off.")
        for prompt in prompts or ():
            if prompt.count(SLOT) != 1 or set(SLOT) & set(prompt.replace(SLOT, "")):
                raise UserError(f"callbacks.evaluation.prompts: {prompt!r} must contain {{}} once, for the token.")
        self.prompts, self.seeds, self.class_noun = tuple(prompts or ()), tuple(seeds), class_noun
        self.feature_extractors, self.guidance_scale = feature_extractors, guidance_scale
        self.options: dict[str, Any] = {"num_inference_steps": num_inference_steps, "batch_size": batch_size}
        self.options["negative_prompt"] = negative_prompt
        self.stopwatch = Stopwatch()
        self.latest: dict[str, float] = {}
        """The latest values, by the names under which they were logged."""
        self._last_step = -1
        self._extractors: FeatureExtractors | None = None
        self._references: dict[str, References] = {}
        self._nouns: dict[str, str] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Loads the feature extractors and embeds the training images before the first step."""
        if not self.is_on:
            return
        for token in pl_module.learned_tokens:
            self._nouns[token.name] = self.class_noun or token.concept.initializer_token
            if not self._nouns[token.name]:
                problem = f"{token.placeholder_token} has no initializer token. Set a plain noun for it, such as cat."
                raise UserError(f"callbacks.evaluation.class_noun=null: {problem}")
        name = self.feature_extractors or default_preset(pl_module.model.name)
        default = 4.5 if name == "toybox" else pl_module.model.family.guidance_scale
        self.options["guidance_scale"] = default if self.guidance_scale is None else self.guidance_scale
        if trainer.is_global_zero:
            with self.stopwatch("loading"), isolate_rng():
                self._extractors = LocatedExtractors.locate(name).load()
                parts: Any = trainer.datamodule.datamodules  # type: ignore[attr-defined]
                for token, part in zip(pl_module.learned_tokens, parts, strict=True):
                    background = part.concept_images.crop_config.background
                    images = [open_image(path, background=background)[0] for path in part.images]
                    self._references[token.name] = References.encode(self._extractors, images)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Evaluates the initial embedding."""
        self._every.reset(trainer.global_step)
        if self.is_on and trainer.global_step == 0:
            self._evaluate(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Evaluates every n steps, and after the last step before its checkpoint is written."""
        is_last = self.is_on and trainer.max_steps <= trainer.global_step != self._last_step
        if self._every.is_due(trainer.global_step) or is_last:
            self._evaluate(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Evaluates the last step of a run that was stopped early."""
        if self.is_on and trainer.global_step != self._last_step:
            self._evaluate(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Restores the values if a complete run was resumed and measured nothing."""
        for name, value in self.latest.items():
            trainer.callback_metrics.setdefault(name, torch.tensor(value))

    def state_dict(self) -> dict[str, Any]:
        return dict(self.latest)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.latest = dict(state_dict)

    def _evaluate(self, trainer: Trainer, pl_module: Any) -> None:
        self._last_step = trainer.global_step
        values: dict[str, float] = {}
        if trainer.is_global_zero:
            for token in pl_module.learned_tokens:
                values |= self._measure(trainer, pl_module, token)
            if len(pl_module.learned_tokens) > 1:
                values |= _means(values, [token.suffix for token in pl_module.learned_tokens])
        self.latest = trainer.strategy.broadcast(values)
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in self.latest.items()})
        if trainer.is_global_zero:
            log_metrics(trainer, self.latest)

    def _measure(self, trainer: Trainer, pl_module: Any, token: LearnedToken) -> dict[str, float]:
        assert self._extractors is not None
        templates, num_seeds = self.prompts or few_prompts_for(token.concept.kind), len(self.seeds)
        prompts = [template.replace(SLOT, token.placeholder_token) for template in templates for _ in self.seeds]
        with self.stopwatch("evaluating"), isolate_rng():
            with trainer.precision_plugin.forward_context():
                options = {"seeds": [*self.seeds] * len(templates), **self.options}
                pixels = sample_pixels(pl_module.model, prompts, pl_module.export_vectors(), **options)
            images = to_images(pixels)
            samples = {text: images[i * num_seeds : (i + 1) * num_seeds] for i, text in enumerate(templates)}
            noun, references = self._nouns[token.name], self._references[token.name]
            scores = measure(self._extractors, samples, references, class_noun=noun).scores
        return {f"eval/{name}{token.suffix}": value for name in LOGGED if (value := scores[name]) is not None}


def _means(values: dict[str, float], suffixes: Sequence[str]) -> dict[str, float]:
    names = [f"eval/{name}" for name in LOGGED if f"eval/{name}{suffixes[0]}" in values]
    return {name: sum(values[f"{name}{suffix}"] for suffix in suffixes) / len(suffixes) for name in names}
