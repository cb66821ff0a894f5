"""Many words in one process: the model and the towers are loaded once."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from tinv.data.images import open_image
from tinv.errors import UserError
from tinv.evaluation import results
from tinv.evaluation.metrics.feature_extractors import Choice, Towers, towers_for
from tinv.evaluation.metrics.measure import References, Scores, measure
from tinv.evaluation.metrics.prompts import prompts_for
from tinv.evaluation.samples import SampleStore, fingerprint, fingerprint_of
from tinv.evaluation.settings import Settings
from tinv.evaluation.subjects import Subject
from tinv.inference.generate import Request, load_model, model_settings, sampling_options
from tinv.models.check_fit import check_fit
from tinv.models.sampling import DPM, SAMPLERS
from tinv.runs.environment import get_versions
from tinv.runs.layout import EVALUATION_SAMPLES

_SAMPLING = {"num_inference_steps": 25, "guidance_scale": 7.5, "negative_prompt": ""}

Result = dict[str, Any]
"""What evaluation.json holds."""


class Also(Protocol):
    """Measures more of the same samples."""

    told: Any
    """What decides its numbers, as JSON can hold it."""

    def __call__(
        self,
        subject: Subject,
        samples: Mapping[str, Sequence[Image.Image]],
        *,
        feature_extractors: Towers,
        model: Any,
        told: Any,
    ) -> Scores:
        """Numbers by names of their own; `model` drew the samples, `told` is what with."""


def evaluate(
    subjects: Iterable[Subject],
    settings: Settings,
    *,
    also: Also | None = None,
    tell: Callable[[Subject, Result, bool], None] | None = None,
) -> list[Result]:
    """Draw and measure each word, unless that has been done with the same settings.

    Args:
        subjects: the words.
        settings: prompts, seeds, towers.
        also: what else is to be measured of the samples.
        tell: hears of each word when it is done, and whether it was new.

    Returns:
        What is in their evaluation.json.

    Raises:
        UserError: a file, a model, a tower or the pictures cannot be had.
    """
    bench = Bench(also)
    found = []
    for subject in subjects:
        result, is_new = bench.result(subject, settings)
        found.append(result)
        if tell:
            tell(subject, result, is_new)
    return found


class Bench:
    """Holds the model and the towers from one word to the next."""

    def __init__(self, also: Also | None = None) -> None:
        """Args:
        also: what else is to be measured of the samples.
        """
        self.also = also
        self._model: Any = None
        self._model_told: dict[str, Any] | None = None
        self._towers: Towers | None = None
        self._choice: Choice | None = None
        self._wanted: Any = None

    def result(self, subject: Subject, settings: Settings) -> tuple[Result, bool]:
        """The evaluation of a word, and whether it is new.

        Raises:
            UserError: as `evaluate`.
        """
        word = subject.learned.placeholder_token.lower()
        request = Request(
            prompts=(),
            embeddings=[subject.place],
            seeds=settings.seeds,
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            negative_prompt=settings.negative_prompt,
            sampler=settings.sampler,
            model=settings.model,
            config=settings.config,
            device=settings.device,
        )
        told: dict[str, Any] = {
            "embedding": fingerprint_of(subject.learned),
            "model": model_settings([subject.learned], request),
            "sampling": _SAMPLING | sampling_options(request),
            "sampler": SAMPLERS[settings.sampler or DPM],
        }
        prompts, class_noun = (
            list(settings.prompts or prompts_for(subject.kind)),
            subject.class_noun(settings.class_noun),
        )
        images = subject.pictures(settings.images)
        choice = self._chosen(settings, str(told["model"]["pretrained"]))
        decisive = {
            "drawn": told,
            "prompts": prompts,
            "seeds": [*settings.seeds],
            "class_noun": class_noun,
            "images": {path.name: _digest(path) for path in images},
            "feature_extractors": choice.told,
            "formulae": results.FORMULAE,
            "also": self.also.told if self.also else None,
        }
        mark = fingerprint(decisive)
        before = results.read(subject.folder)
        album = SampleStore(subject.folder / EVALUATION_SAMPLES, word, prompts, settings.seeds)
        if before and before.get("fingerprint") == mark and not album.missing():
            return before, False
        shown = [open_image(path, background="white")[0] for path in images]
        with album.held():
            model = self._loaded(subject, request, told["model"])
            album.draw(model, subject.learned, told, batch_size=settings.batch_size)
            samples = album.read()
        feature_extractors = self._seeing(choice)
        references = References.seen_by(feature_extractors, shown) if shown else None
        found = measure(feature_extractors, samples, references, class_noun=class_noun)
        more = (
            self.also(subject, samples, feature_extractors=feature_extractors, model=model, told=told)
            if self.also
            else {}
        )
        result = {
            "scores": {**found.scores, **more},
            "reference_points": references.points() if references else {},
            "prompts": found.prompts,
            "placeholder_token": subject.learned.placeholder_token,
            "class_noun": class_noun,
            "kind": subject.kind,
            "images": [path.name for path in images],
            "seeds": [*settings.seeds],
            "drawn": told,
            "feature_extractors": choice.told,
            "versions": get_versions(),
            "measured": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "fingerprint": mark,
        }
        results.write(subject.folder, result)
        return results.rounded(result), True

    def _chosen(self, settings: Settings, model: str) -> Choice:
        wanted = settings.feature_extractors or towers_for(model), settings.clip, settings.dino
        if self._choice is None or self._wanted != wanted:
            self._choice, self._towers = Choice.of(wanted[0], clip=settings.clip, dino=settings.dino), None
            self._wanted = wanted
        return self._choice

    def _seeing(self, choice: Choice) -> Towers:
        if self._towers is None:
            self._towers = choice.load().to(self._model.unet.device)
        return self._towers

    def _loaded(self, subject: Subject, request: Request, told: dict[str, Any]) -> Any:
        """The model, unless the last word had the same; the fit of the vectors is looked at in any case."""
        if told != self._model_told:
            self._model = None  # before the next one takes the memory
            self._model = load_model([subject.learned], request)
            self._model_told = told
        else:
            check_fit([subject.learned], self._model)
        return self._model


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); mend or remove it") from error
