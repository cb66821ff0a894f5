"""Pictures with learned words, on the model that the words were learned on."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

import torch

from tinv import formats
from tinv.concept import slug as name
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.models import LatentDiffusion, load
from tinv.models.check_fit import check_fit
from tinv.models.sampling import DPM, check_sampler, generate_images
from tinv.runs.files import write_atomically
from tinv.runs.image_grid import draw_grid
from tinv.runs.layout import HYDRA_CONFIG
from tinv.runs.reader import RunReader

_MODEL_SETTINGS = ("pretrained", "revision", "variant", "vae", "tokenizer", "config", "dtype")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to draw; None leaves a setting to the run, or to the usual value."""

    prompts: Sequence[str]
    embeddings: Sequence[Path]
    seeds: Sequence[int]
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    sampler: str | None = None
    """`dpm` or `ddim`."""
    model: str | None = None
    config: str | None = None
    """For a model in a single file: where its configurations and tokenizers are."""
    device: str | None = None


def generate(request: Request, *, out: Path, as_grid: bool) -> list[Path]:
    """Draw every prompt with every seed and write the pictures.

    Args:
        request: what to draw.
        out: a folder, or a .png for a sheet or a single picture.
        as_grid: one sheet of all pictures, a row for each prompt.

    Returns:
        The files written.

    Raises:
        UserError: an embedding, a prompt, the model or the place is not usable.
    """
    count = len(request.prompts) * len(request.seeds)
    is_file = out.suffix.lower() == ".png"
    if is_file and not as_grid and count > 1:
        raise UserError(f"--out {out} is one file, but there are {count} pictures; add --grid or give a folder")
    learned = distinct([word for place in request.embeddings for word in formats.read_all(place)])
    prompts = [fill(prompt, [word.placeholder_token for word in learned]) for prompt in request.prompts]
    model = load_model(learned, request)
    pictures = generate_images(
        model,
        [prompt for prompt in prompts for _ in request.seeds],
        {word.placeholder_token: word.vectors for word in learned},
        seeds=[*request.seeds] * len(prompts),
        **sampling_options(request),
    )
    if as_grid:
        sheet = draw_grid(pictures, rows=prompts, columns=[f"seed {seed}" for seed in request.seeds])
        drawn = {out if is_file else out / "grid.png": sheet}
    elif is_file:
        drawn = {out: pictures[0]}
    else:
        names = [f"{slug(prompt)}_{seed}.png" for prompt in prompts for seed in request.seeds]
        drawn = {out / name: picture for name, picture in zip(names, pictures, strict=True)}
    for path, picture in drawn.items():
        with write_atomically(path) as draft:
            picture.save(draft, format="png")
    return list(drawn)


def distinct(learned: Sequence[LearnedEmbedding]) -> list[LearnedEmbedding]:
    """The words in lower case, as prompts are read; a word that occurs again gets a number: `<cat>~2`."""
    words: list[str] = []
    for embedding in learned:
        word = embedding.placeholder_token.lower()
        times = sum(seen.partition("~")[0] == word for seen in words)
        words.append(f"{word}~{times + 1}" if times else word)
    pairs = zip(words, learned, strict=True)
    return [LearnedEmbedding(word, embedding.vectors, embedding.provenance) for word, embedding in pairs]


def fill(prompt: str, words: Sequence[str]) -> str:
    """The prompt with the words in its gaps: `{}` in their order, `{1}` by number, `{cat-toy}` by name.

    A single word fills every `{}`.

    Raises:
        UserError: a gap without a word, or a brace on its own.
    """
    names = {name(word): word for word in words}
    try:
        gaps = [gap for _, gap, _, _ in Formatter().parse(prompt) if gap is not None]
        filled = prompt.format(*(words if len(words) > 1 else [*words] * max(1, gaps.count(""))), **names)
    except (ValueError, IndexError, KeyError, AttributeError) as error:
        raise UserError(
            f"the prompt {prompt!r} cannot be filled with {len(words)} word{'s' if len(words) > 1 else ''} "
            f"({', '.join(words)}): write {{}} for each in order, {{0}} {{1}} ... by number, or "
            f"{', '.join(f'{{{gap}}}' for gap in names)} by name"
        ) from error
    if not any(word in filled.lower() for word in words):
        warnings.warn(f"the prompt {prompt!r} has none of the learned words; write {{}} for one", stacklevel=2)
    return filled


def load_model(learned: Sequence[LearnedEmbedding], request: Request) -> LatentDiffusion:
    """The model that the words were learned on, or the one asked for.

    Raises:
        UserError: the files name none or several, or the vectors do not fit it.
    """
    model = load(**model_settings(learned, request))
    check_fit(learned, model)
    return model.to(_device(request.device))


def model_settings(learned: Sequence[LearnedEmbedding], request: Request) -> dict[str, Any]:
    """What `tinv.models.load` is told: the same settings are the same model.

    Raises:
        UserError: the files name none or several, and none is asked for.
    """
    names = sorted({word.provenance["base_model"] for word in learned if word.provenance.get("base_model")})
    if request.model is None and len(names) != 1:
        found = f"were learned on {' and '.join(names)}" if names else "do not say which model they were learned on"
        raise UserError(f"the embeddings {found}; choose one with --model")
    return _asked_for(request) if request.model else _as_in_the_run(learned, request)


def sampling_options(request: Request) -> dict[str, Any]:
    """What was asked for, else what the first run's own samples were drawn with, else the sampler's defaults."""
    samples = (_run(request).get("callbacks") or {}).get("samples") or {}
    options = {
        name: samples[name] for name in ("num_inference_steps", "guidance_scale", "negative_prompt") if name in samples
    }
    asked = {
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
        "negative_prompt": request.negative_prompt,
    }
    options |= {name: value for name, value in asked.items() if value is not None}
    if options.get("num_inference_steps", 1) < 1:
        raise UserError(f"--num-inference-steps must be 1 or more, got {options['num_inference_steps']}")
    if request.sampler is not None:
        check_sampler(request.sampler)
    return options if request.sampler in (None, DPM) else {**options, "sampler": request.sampler}


def _asked_for(request: Request) -> dict[str, Any]:
    return {"pretrained": request.model, "config": request.config}


def _as_in_the_run(learned: Sequence[LearnedEmbedding], request: Request) -> dict[str, Any]:
    """The model of the words, as the run loaded it if its folder is at hand: the same revision, precision and VAE."""
    (name,) = {word.provenance["base_model"] for word in learned if word.provenance.get("base_model")}
    settings = _run(request).get("model") or {}
    if settings.get("pretrained") == name:
        return {key: settings[key] for key in _MODEL_SETTINGS if key in settings}
    revisions = {word.provenance.get("base_revision") for word in learned}
    return {"pretrained": name, "revision": revisions.pop() if len(revisions) == 1 else None, "config": request.config}


def _run(request: Request) -> dict[str, Any]:
    """The settings of the run that the first embedding comes from; empty where only the file is at hand."""
    place = request.embeddings[0]
    run = RunReader(place if place.is_dir() else place.parent)
    config = run.config
    if run.problems:
        raise UserError(
            f"{run.folder / HYDRA_CONFIG} cannot be read ({run.problems[HYDRA_CONFIG]}). Repair or remove it."
        )
    return config or {}


def slug(prompt: str) -> str:
    """A prompt as a file name: `a <cat-toy> on the beach` -> `a-cat-toy-on-the-beach`."""
    return re.sub(r"[^\w]+", "-", prompt.lower()).strip("-")[:80] or "picture"


def _device(name: str | None) -> torch.device:
    """The device asked for, or the fastest there is."""
    if name is None:
        usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        name = next((kind for kind, is_usable in usable.items() if is_usable), "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name} is not usable here ({str(error).splitlines()[0]})") from error
