"""How good each word is by now: a few samples, looked at by towers, every n steps."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from tinv.data.images import open_image
from tinv.embeddings import LearnedToken
from tinv.errors import UserError
from tinv.evaluation.metrics.feature_extractors import Choice, Towers, towers_for
from tinv.evaluation.metrics.measure import GAP, References, measure
from tinv.evaluation.metrics.prompts import few_prompts_for
from tinv.models.sampling import sample_pixels, to_images
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.callbacks.logging import log_metrics
from tinv.training.callbacks.timing import Stopwatch

LOGGED = ("clip_i", "clip_t", "dino", "score")
"""As `eval/clip_i`; where there are several concepts that is the mean, and each has its `eval/clip_i/cat-toy`."""
_GUIDANCE = {"toybox": 4.5}


class Evaluation(Callback):
    """Logs `eval/clip_i`, `eval/clip_t`, `eval/score` and, where there is one, `eval/dino`, from step 0 on.

    They can be followed (`early_stopping=patience`, `keep=best`) and monitored (`monitor=eval/score`). `tinv evaluate` measures
    the result with more samples; docs/evaluation.md says what the numbers mean.
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
            every_n_steps: in optimizer steps; None does nothing at all.
            prompts: with `{}` for the word; None is four for a thing, or for a style.
            seeds: a sample of each prompt for each.
            num_inference_steps: solver steps a sample.
            guidance_scale: how strictly samples follow the prompt; None is 7.5, for the toybox 4.5.
            negative_prompt: what to steer away from.
            class_noun: the plain name of what is learned; None is the word that it starts from.
            towers: what looks at the samples; None is what goes with the model.
            batch_size: how many samples are drawn at once; only memory and speed depend on it.

        Raises:
            UserError: no seed, or a prompt without a place for the word.
        """
        self._every = EveryNSteps(every_n_steps, setting="callbacks.evaluation.every_n_steps")
        self.is_on = every_n_steps is not None
        if not seeds:
            raise UserError("callbacks.evaluation.seeds needs a seed; every_n_steps=null turns the evaluation off")
        for prompt in prompts or ():
            if prompt.count(GAP) != 1 or set(GAP) & set(prompt.replace(GAP, "")):
                raise UserError(f"callbacks.evaluation.prompts: {prompt!r} must have one {{}} for the word")
        self.prompts, self.seeds, self.class_noun = tuple(prompts or ()), tuple(seeds), class_noun
        self.towers_name, self.guidance_scale = feature_extractors, guidance_scale
        self.options: dict[str, Any] = {
            "num_inference_steps": num_inference_steps,
            "negative_prompt": negative_prompt,
            "batch_size": batch_size,
        }
        self.stopwatch = Stopwatch()
        self.latest: dict[str, float] = {}
        """What was measured last, by the names that it was logged under."""
        self._measured_at = -1
        self._towers: Towers | None = None
        self._references: dict[str, References] = {}
        self._nouns: dict[str, str] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Load the towers and look at what is to be learned, before the first step."""
        if not self.is_on:
            return
        self._nouns = {word.name: self._noun_of(word) for word in pl_module.learned_tokens}
        name = self.towers_name or towers_for(pl_module.model.name)
        self.options["guidance_scale"] = (
            self.guidance_scale if self.guidance_scale is not None else _GUIDANCE.get(name, 7.5)
        )
        if trainer.is_global_zero:
            with self.stopwatch("loading"), isolate_rng():
                self._towers = Choice.of(name).load()
                data: Any = trainer.datamodule  # type: ignore[attr-defined]
                for word, part in zip(pl_module.learned_tokens, data.datamodules, strict=True):
                    background = part.concept_images.crop_config.background
                    shown = [open_image(path, background=background)[0] for path in part.images]
                    self._references[word.name] = References.seen_by(self._towers, shown)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Where it begins."""
        self._every.begin(trainer.global_step)
        if self.is_on and trainer.global_step == 0:
            self._evaluate(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Every n optimizer steps, and after the last one, before it is in a checkpoint."""
        step = trainer.global_step
        is_last = self.is_on and step >= trainer.max_steps and step != self._measured_at
        if self._every.due(step) or is_last:
            self._evaluate(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """The end of a run that was stopped."""
        if self.is_on and trainer.global_step != self._measured_at:
            self._evaluate(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """A run that goes on when it is complete measures nothing again."""
        for name, value in self.latest.items():
            trainer.callback_metrics.setdefault(name, torch.tensor(value))

    def state_dict(self) -> dict[str, Any]:
        """What was measured last."""
        return dict(self.latest)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As a checkpoint has it."""
        self.latest = dict(state_dict)

    def _evaluate(self, trainer: Trainer, pl_module: Any) -> None:
        self._measured_at = trainer.global_step
        numbers: dict[str, float] = {}
        if trainer.is_global_zero:
            for word in pl_module.learned_tokens:
                numbers |= self._measure(trainer, pl_module, word)
            if len(pl_module.learned_tokens) > 1:
                numbers |= _means(numbers, [word.suffix for word in pl_module.learned_tokens])
        self.latest = trainer.strategy.broadcast(numbers)
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in self.latest.items()})
        if trainer.is_global_zero:
            log_metrics(trainer, self.latest)

    def _measure(self, trainer: Trainer, pl_module: Any, word: LearnedToken) -> dict[str, float]:
        assert self._towers is not None
        prompts = self.prompts or few_prompts_for(word.concept.kind)
        asked = [prompt.replace(GAP, word.placeholder_token) for prompt in prompts for _ in self.seeds]
        with self.stopwatch("evaluating"), isolate_rng():
            with trainer.precision_plugin.forward_context():
                seeds = [*self.seeds] * len(prompts)
                pixels = sample_pixels(pl_module.model, asked, pl_module.export_vectors(), seeds=seeds, **self.options)
            drawn, each = to_images(pixels), len(self.seeds)
            samples = {prompt: drawn[i * each : (i + 1) * each] for i, prompt in enumerate(prompts)}
            found = measure(self._towers, samples, self._references[word.name], class_noun=self._nouns[word.name])
        scores = {name: found.scores[name] for name in LOGGED}
        return {f"eval/{name}{word.suffix}": value for name, value in scores.items() if value is not None}

    def _noun_of(self, word: LearnedToken) -> str:
        class_noun = self.class_noun or word.concept.initializer_token
        if not class_noun:
            raise UserError(
                f"callbacks.evaluation.class_noun: nothing says what {word.placeholder_token} is one of; give its plain name, "
                f"such as cat"
            )
        return class_noun


def _means(numbers: dict[str, float], suffixes: Sequence[str]) -> dict[str, float]:
    names = [f"eval/{name}" for name in LOGGED if f"eval/{name}{suffixes[0]}" in numbers]
    return {name: sum(numbers[f"{name}{suffix}"] for suffix in suffixes) / len(suffixes) for name in names}
