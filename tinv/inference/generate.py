"""Draws images with learned embeddings, on the model that they were trained on."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Formatter
from typing import Any

import torch

from tinv import formats
from tinv.concept import slug
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.models import LatentDiffusion, load
from tinv.models.check_fit import check_fit
from tinv.models.sampling import check_sampler, generate_images
from tinv.runs.files import write_atomically
from tinv.runs.image_grid import draw_grid
from tinv.runs.layout import HYDRA_CONFIG
from tinv.runs.reader import RunReader

_MODEL_SETTINGS = ("pretrained", "revision", "variant", "vae", "tokenizer", "config", "dtype", "quantization")


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """What to draw; None means the setting of the run's samples, or else the default."""

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
    """For a model in a single file: the folder or Hub id with its configurations and tokenizers."""
    device: str | None = None


def generate(request: GenerationRequest, *, out: Path, as_grid: bool) -> list[Path]:
    """Draws every prompt with every seed and writes the images.

    Args:
        request: the prompts, embeddings and settings.
        out: a folder, or a .png file for a grid or a single image.
        as_grid: write one grid of all images, a row for each prompt.

    Returns:
        The files written.

    Raises:
        UserError: an embedding, a prompt, the model or the output path is not usable.
    """
    count = len(request.prompts) * len(request.seeds)
    is_file = out.suffix.lower() == ".png"
    if is_file and not as_grid and count > 1:
        raise UserError(f"--out={out}: this is one file, but there are {count} images. Add --grid or give a folder.")
    embeddings = number_duplicates([each for path in request.embeddings for each in formats.read_all(path)])
    prompts = [fill_prompt(prompt, [each.placeholder_token for each in embeddings]) for prompt in request.prompts]
    model = load_model(embeddings, request)
    images = generate_images(
        model,
        [prompt for prompt in prompts for _ in request.seeds],
        {embedding.placeholder_token: embedding.vectors for embedding in check_fit(embeddings, model)},
        seeds=[*request.seeds] * len(prompts),
        **sampling_options(request),
    )
    if as_grid:
        grid = draw_grid(images, rows=prompts, columns=[f"seed {seed}" for seed in request.seeds])
        files = {out if is_file else out / "grid.png": grid}
    elif is_file:
        files = {out: images[0]}
    else:
        names = [f"{prompt_slug(prompt)}_{seed}.png" for prompt in prompts for seed in request.seeds]
        files = {out / name: image for name, image in zip(names, images, strict=True)}
    for path, image in files.items():
        with write_atomically(path) as draft:
            image.save(draft, format="png")
    return list(files)


def number_duplicates(embeddings: Sequence[LearnedEmbedding]) -> list[LearnedEmbedding]:
    """Returns the embeddings with tokens in lower case, like prompts; a repeated token gets a number: `<cat>~2`."""
    tokens = [embedding.placeholder_token.lower() for embedding in embeddings]
    numbers = [tokens[: i + 1].count(token) for i, token in enumerate(tokens)]
    return [
        replace(embedding, placeholder_token=f"{token}~{number}" if number > 1 else token)
        for embedding, token, number in zip(embeddings, tokens, numbers, strict=True)
    ]


def fill_prompt(prompt: str, tokens: Sequence[str]) -> str:
    """Returns the prompt with the tokens in its slots: `{}` in order, `{1}` by number, `{cat-toy}` by name.

    A single token fills every `{}`.

    Raises:
        UserError: a slot has no token, or a brace is unpaired.
    """
    names = {slug(token): token for token in tokens}
    try:
        slots = [slot for _, slot, _, _ in Formatter().parse(prompt) if slot is not None]
        filled = prompt.format(*(tokens if len(tokens) > 1 else [*tokens] * max(1, slots.count(""))), **names)
    except (ValueError, IndexError, KeyError, AttributeError) as error:
        raise UserError(
            f"The prompt {prompt!r} cannot be filled with {len(tokens)} token{'s' if len(tokens) > 1 else ''} "
            f"({', '.join(tokens)}). Write {{}} for each in order, {{0}} {{1}} ... by number, or "
            f"{', '.join(f'{{{name}}}' for name in names)} by name."
        ) from error
    if not any(token in filled.lower() for token in tokens):
        warnings.warn(f"The prompt {prompt!r} contains no learned token; write {{}} for one.", stacklevel=2)
    return filled


def load_model(embeddings: Sequence[LearnedEmbedding], request: GenerationRequest) -> LatentDiffusion:
    """Loads the model that the embeddings were trained on, or the one of the request.

    Raises:
        UserError: the files name no model or several.
    """
    return load(**model_settings(embeddings, request)).to(select_device(request.device))


def model_settings(embeddings: Sequence[LearnedEmbedding], request: GenerationRequest) -> dict[str, Any]:
    """Returns the arguments of `tinv.models.load`; equal arguments load the same model.

    Raises:
        UserError: the files name no model or several, and the request names none.
    """
    if request.model:
        return {"pretrained": request.model, "config": request.config}
    names = sorted({each.provenance["base_model"] for each in embeddings if each.provenance.get("base_model")})
    if len(names) != 1:
        reason = f"were trained on {' and '.join(names)}" if names else "do not name the model they were trained on"
        raise UserError(f"The embeddings {reason}. Choose a model with --model.")
    settings = _run_config(request).get("model") or {}
    if settings.get("pretrained") == names[0]:  # as the run loaded it: the same revision, precision and VAE
        return {key: settings[key] for key in _MODEL_SETTINGS if key in settings}
    revisions = {each.provenance.get("base_revision") for each in embeddings}
    revision = revisions.pop() if len(revisions) == 1 else None
    return {"pretrained": names[0], "revision": revision, "config": request.config}


def sampling_options(request: GenerationRequest) -> dict[str, Any]:
    """Returns the options of the request, else those of the first run's samples; missing ones have defaults."""
    samples = (_run_config(request).get("callbacks") or {}).get("samples") or {}
    names = ("num_inference_steps", "guidance_scale", "negative_prompt")
    options = {name: samples[name] for name in names if samples.get(name) is not None}
    options |= {name: value for name in names if (value := getattr(request, name)) is not None}
    if options.get("num_inference_steps", 1) < 1:
        raise UserError(f"--num-inference-steps={options['num_inference_steps']}: must be 1 or more.")
    if request.sampler is not None:
        check_sampler(request.sampler)
    return options if request.sampler is None else {**options, "sampler": request.sampler}


def _run_config(request: GenerationRequest) -> dict[str, Any]:
    """Returns the settings of the run of the first embedding, empty if its folder is not there."""
    path = request.embeddings[0]
    run = RunReader(path if path.is_dir() else path.parent)
    config = run.config
    if run.problems:
        raise UserError(
            f"{run.folder / HYDRA_CONFIG} cannot be read ({run.problems[HYDRA_CONFIG]}). Repair or remove it."
        )
    return config or {}


def prompt_slug(prompt: str) -> str:
    """Returns a prompt as a file name: `a <cat-toy> on the beach` -> `a-cat-toy-on-the-beach`."""
    return re.sub(r"[^\w]+", "-", prompt.lower()).strip("-")[:80] or "image"


def select_device(name: str | None) -> torch.device:
    """Returns the named device, or the fastest one."""
    if name is None:
        available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        name = next((kind for kind, is_available in available.items() if is_available), "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device={name}: not available on this machine ({str(error).splitlines()[0]}).") from error
