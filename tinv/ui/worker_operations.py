"""What the worker process can do. Each operation yields the parts of its answer; torch is imported when it runs."""

import base64
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from tinv.errors import UserError

_MAX_WORDS = 12
_STAND_INS = {"concept.placeholder_token": "<tinv-new-word>", "concept.initializer_token": "a"}
"""For settings that nobody has typed yet."""


def check(overrides: list[str]) -> Iterator[dict[str, list[str]]]:
    """Yields the problems and the warnings that a run with these settings would have before its weights load."""
    from tinv.training.preflight import preflight

    complete, problems = _fill_missing(overrides)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            preflight(_compose(complete))
        except UserError as error:
            problems += _messages(error)
    texts = [str(warning.message) for warning in caught if warning.category is UserWarning]
    yield {"problems": problems, "warnings": list(dict.fromkeys(texts))}


def preview(overrides: list[str]) -> Iterator[list[dict[str, Any]]]:
    """Yields the training images of the first concept, cropped, masked and captioned as in training."""
    from tinv.config.validate import build
    from tinv.training.preview import CELL, first_batches, native_resolution, overlay_mask

    cfg = _compose(_fill_missing(overrides)[0])
    model = {key: cfg.model.get(key) for key in ("revision", "config")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the check shows them
        data = build(cfg.data)
        resolution = cfg.data.resolution or native_resolution(cfg.model.pretrained, **model)
        batches = first_batches(data, resolution=resolution, num_samples=4 * len(data.images))
    examples = {example.index: example for batch in reversed(batches) for example in reversed(batch)}
    images = []
    for index, path in enumerate(data.images):
        encoded = data.encoded_images[index]
        height, width, _, _, target_height, target_width = encoded.views.geometry[0].tolist()
        image = {
            "file": path.name,
            "size": [width, height],
            "target": [target_width, target_height],
            "views": len(encoded.views),
            "mask": None if encoded.views.mask is None else float(encoded.views.mask.mean()),
        }
        if example := examples.get(index):
            image |= {"url": data_url(overlay_mask(example), max_side=CELL), "caption": example.caption}
        images.append(image)
    yield images


def words(overrides: list[str]) -> Iterator[list[dict[str, Any]]]:
    """Yields the words of the vocabulary that are most similar to the training images by CLIP, best first."""
    from tinv.config.validate import build
    from tinv.data.images import open_image
    from tinv.evaluation.metrics.clip import Clip
    from tinv.evaluation.metrics.word_ranking import rank_words, vocabulary_words
    from tinv.models import describe
    from tinv.training.initializer_search import find_clip

    cfg = _compose(_fill_missing(overrides)[0])
    model = {key: cfg.model[key] for key in ("pretrained", "revision", "tokenizer", "config") if key in cfg.model}
    tokenizer = next(iter(describe(**model).tokenizers.values()))
    images = [open_image(path, background=cfg.data.background)[0] for path in build(cfg.data).images]
    clip = Clip.load(find_clip(cfg.model.pretrained).folder)
    ranking = rank_words(clip, images, vocabulary_words(tokenizer), kind=cfg.concept.get("kind", "object"))
    yield [{"word": word, "similarity": similarity} for word, similarity in ranking[:_MAX_WORDS]]


def draw(
    embeddings: list[str],
    prompts: list[str],
    seeds: list[int],
    num_inference_steps: int | None,
    guidance_scale: float | None,
    negative_prompt: str | None,
    strengths: list[float],
) -> Iterator[dict[str, Any]]:
    """Yields an image for each prompt and seed as soon as it is drawn.

    Args:
        embeddings: run folders or files. The model is that of the first.
        prompts: `{}` is a token, as in `tinv generate`.
        seeds: of the noise.
        num_inference_steps: of the sampler; None is the setting of the run's samples.
        guidance_scale: likewise.
        negative_prompt: likewise.
        strengths: factors of the learned vectors, by embedding.
    """
    from tinv import formats
    from tinv.inference.generate import GenerationRequest, fill_prompt, model_settings, number_duplicates
    from tinv.inference.generate import sampling_options as options_of
    from tinv.models.check_fit import check_fit
    from tinv.models.sampling import generate_images

    request = GenerationRequest(
        prompts=prompts,
        embeddings=[Path(path) for path in embeddings],
        seeds=seeds,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        negative_prompt=negative_prompt,
    )
    read = [formats.read_all(path) for path in request.embeddings]
    factors = [factor for each, factor in zip(read, strengths, strict=True) for _ in each]
    learned = number_duplicates([embedding for each in read for embedding in each])
    texts = [fill_prompt(prompt, [each.placeholder_token for each in learned]) for prompt in prompts]
    options = options_of(request)
    settings = model_settings(learned, request)
    yield {
        "state": "loading",
        "model": str(settings["pretrained"]).rpartition("/")[2],
        "count": len(texts) * len(seeds),
    }
    model = _load_model(tuple(sorted(settings.items())))
    vectors = {
        embedding.placeholder_token: {role: vectors_KD * factor for role, vectors_KD in embedding.vectors.items()}
        for embedding, factor in zip(check_fit(learned, model), factors, strict=True)
    }
    for row, text in enumerate(texts):
        for column, seed in enumerate(seeds):
            (image,) = generate_images(model, [text], vectors, seeds=[seed], **options)
            yield {"state": "image", "row": row, "column": column, "prompt": text, "seed": seed, "url": data_url(image)}


def convert(source: str, format: str) -> Iterator[list[dict[str, str]]]:
    """Yields the files of a run's embeddings in another format, with their contents in base64."""
    from tempfile import TemporaryDirectory

    from tinv.inference import convert as convert_embedding

    with TemporaryDirectory() as folder:
        paths = convert_embedding.convert(Path(source), Path(folder) / "files", format)
        yield [{"name": path.name, "content": base64.b64encode(path.read_bytes()).decode()} for path in paths]


def load_libraries() -> Iterator[bool]:
    """Yields when what a check needs is imported, which takes seconds."""
    import tinv.training.preflight  # noqa: F401

    yield True


OPERATIONS: dict[str, Callable[..., Iterator[Any]]] = {
    "load_libraries": load_libraries,
    "check": check,
    "preview": preview,
    "words": words,
    "draw": draw,
    "convert": convert,
}


def data_url(image: Any, *, max_side: int = 4096) -> str:
    """Returns a PIL image as a `data:` URL of a lossless file."""
    if max(image.size) > max_side:
        image.thumbnail((max_side, max_side))
    image.save(file := BytesIO(), format="png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


@cache
def _load_model(settings: Sequence[tuple[str, Any]]) -> Any:
    from tinv.inference.generate import select_device
    from tinv.models import load

    _load_model.cache_clear()  # one model at a time
    return load(**dict(settings)).to(select_device(None))


def _compose(overrides: list[str]) -> Any:
    """Returns checked settings.

    Raises:
        ConfigError: with all problems.
    """
    from tinv.config.override_errors import find_problems
    from tinv.config.validate import ConfigError
    from tinv.config.validate import check as check_settings

    if problems := find_problems(_groups(), overrides):
        raise ConfigError(problems)
    return check_settings(_groups().compose(overrides))


def _fill_missing(overrides: list[str]) -> tuple[list[str], list[str]]:
    """Returns overrides with values for what is not set yet, so that the rest can be checked, and what is missing."""
    from tinv.config.override_errors import find_problems

    missing = [str(problem) for problem in find_problems(_groups(), overrides) if problem.is_missing]
    values = [f"{key}={value}" for key, value in _STAND_INS.items() if any(text.startswith(key) for text in missing)]
    return [*overrides, *values], missing if values else []


@cache
def _groups() -> Any:
    from tinv.config.compose import Groups
    from tinv.training.main import register

    register()
    return Groups()


def _messages(error: UserError) -> list[str]:
    from tinv.config.validate import ConfigError

    return [str(problem) for problem in error.problems] if isinstance(error, ConfigError) else [str(error)]
