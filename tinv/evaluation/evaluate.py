"""Evaluates many embeddings in one process; the model and the feature extractors are loaded once."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from tinv.data.images import open_image
from tinv.errors import UserError
from tinv.evaluation import results
from tinv.evaluation.config import EvaluationConfig
from tinv.evaluation.metrics.feature_extractors import FeatureExtractors, LocatedExtractors, default_preset
from tinv.evaluation.metrics.measure import References, Scores, measure
from tinv.evaluation.metrics.prompts import prompts_for
from tinv.evaluation.results import Result
from tinv.evaluation.samples import SampleStore, fingerprint, fingerprint_embedding
from tinv.evaluation.targets import EvaluationTarget
from tinv.inference.generate import GenerationRequest, load_model, model_settings, sampling_options
from tinv.models.check_fit import check_fit
from tinv.models.sampling import DPM, FLOW, SAMPLERS
from tinv.runs.environment import get_versions
from tinv.runs.layout import EVALUATION_SAMPLES

_SAMPLING_DEFAULTS = {"num_inference_steps": 25, "negative_prompt": ""}


class ExtraMetrics(Protocol):
    """Computes additional scores of the same samples."""

    settings: Any
    """A JSON value that determines the scores."""

    def __call__(
        self,
        target: EvaluationTarget,
        samples: Mapping[str, Sequence[Image.Image]],
        *,
        extractors: FeatureExtractors,
        model: Any,
        drawing: Mapping[str, Any],
    ) -> Scores:
        """Returns scores under names of their own; `model` drew the samples with the settings `drawing`."""


def evaluate(
    targets: Iterable[EvaluationTarget],
    config: EvaluationConfig,
    *,
    extra_metrics: ExtraMetrics | None = None,
    on_result: Callable[[EvaluationTarget, Result, bool], None] | None = None,
) -> list[Result]:
    """Draws samples of each target and measures them, unless that was done with the same settings.

    Args:
        targets: the embeddings.
        config: the settings.
        extra_metrics: additional scores.
        on_result: called after each target with its result and whether that is new.

    Returns:
        The content of each evaluation.json.

    Raises:
        UserError: a file, a model, a feature extractor or the training images cannot be read.
    """
    evaluator = Evaluator(extra_metrics)
    evaluations = []
    for target in targets:
        result, is_new = evaluator.evaluate(target, config)
        evaluations.append(result)
        if on_result:
            on_result(target, result, is_new)
    return evaluations


class Evaluator:
    """Evaluates one target after another and keeps the model and the feature extractors in memory."""

    def __init__(self, extra_metrics: ExtraMetrics | None = None) -> None:
        """Args:
        extra_metrics: additional scores.
        """
        self.extra_metrics = extra_metrics
        self._model: Any = None
        self._model_settings: dict[str, Any] | None = None
        self._selection: Any = None
        self._located: LocatedExtractors | None = None
        self._extractors: FeatureExtractors | None = None

    def evaluate(self, target: EvaluationTarget, config: EvaluationConfig) -> tuple[Result, bool]:
        """Returns the evaluation of a target, and whether it is new.

        Raises:
            UserError: as `evaluate`.
        """
        request = GenerationRequest(
            prompts=(),
            embeddings=[target.path],
            seeds=config.seeds,
            num_inference_steps=config.num_inference_steps,
            guidance_scale=config.guidance_scale,
            negative_prompt=config.negative_prompt,
            sampler=config.sampler,
            model=config.model,
            config=config.config,
            device=config.device,
        )
        is_flow = target.embedding.provenance.get("prediction_type") == FLOW
        is_stable_diffusion = not is_flow and all(name.startswith("clip_") for name in target.embedding.vectors)
        defaults = _SAMPLING_DEFAULTS | ({"guidance_scale": 7.5} if is_stable_diffusion else {})
        drawing: dict[str, Any] = {
            "embedding": fingerprint_embedding(target.embedding),
            "model": model_settings([target.embedding], request),
            "sampling": defaults | sampling_options(request),
            "sampler": SAMPLERS[config.sampler or (FLOW if is_flow else DPM)],
        }
        prompts, class_noun = list(config.prompts or prompts_for(target.kind)), target.class_noun(config.class_noun)
        images = target.training_images(config.images)
        located = self._locate(config, str(drawing["model"]["pretrained"]))
        determining = {
            **drawing,
            "prompts": prompts,
            "seeds": [*config.seeds],
            "class_noun": class_noun,
            "images": {path.name: _hash_file(path) for path in images},
            "feature_extractors": located.info,
            "metrics_version": results.METRICS_VERSION,
            "extra_metrics": self.extra_metrics.settings if self.extra_metrics else None,
        }
        before = results.read_result(target.folder)
        store = SampleStore(target.folder / EVALUATION_SAMPLES, target.token.lower(), prompts, config.seeds)
        if before and before.get("fingerprint") == fingerprint(determining) and not store.missing():
            return before, False
        training_images = [open_image(path, background="white")[0] for path in images]
        with store.lock():
            model = self._load_model(target, request, drawing["model"])
            (embedding,) = check_fit([target.embedding], model)
            store.draw(model, embedding, drawing, batch_size=config.batch_size)
            samples = store.read()
        if self._extractors is None:
            self._extractors = located.load().to(model.denoiser.device)
        references = References.encode(self._extractors, training_images) if training_images else None
        measurement = measure(self._extractors, samples, references, class_noun=class_noun)
        scores = measurement.scores
        if self.extra_metrics:
            scores |= self.extra_metrics(target, samples, extractors=self._extractors, model=model, drawing=drawing)
        result = {
            "scores": scores,
            "reference_scores": references.scores() if references else {},
            "prompts": measurement.prompts,
            "placeholder_token": target.token,
            "class_noun": class_noun,
            "kind": target.kind,
            "images": [path.name for path in images],
            "seeds": [*config.seeds],
            **drawing,
            "feature_extractors": located.info,
            "versions": get_versions(),
            "evaluated_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "fingerprint": fingerprint(determining),
        }
        results.write_result(target.folder, result)
        return results.round_floats(result), True

    def _locate(self, config: EvaluationConfig, model: str) -> LocatedExtractors:
        selection = config.feature_extractors or default_preset(model), config.clip, config.dino
        if self._located is None or self._selection != selection:
            preset, clip, dino = selection
            self._located, self._extractors = LocatedExtractors.locate(preset, clip=clip, dino=dino), None
            self._selection = selection
        return self._located

    def _load_model(self, target: EvaluationTarget, request: GenerationRequest, settings: dict[str, Any]) -> Any:
        """Returns the model, from memory if the settings are the same."""
        if settings != self._model_settings:
            self._model = None  # frees its memory before the next one is loaded
            self._model = load_model([target.embedding], request)
            self._model_settings = settings
        return self._model


def _hash_file(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}). Repair or remove the file.") from error
