"""Measures how well an embedding has learned a toybox concept: similarity to renders, denoising and editability.

Similarity to the training images says little, because backgrounds dominate it. The renderer can draw a concept
anywhere, so samples of "a photo of a {} on X" are compared with new renders of the concept on the same X:

    S(token) = mean similarity, by the toybox's CLIP image encoder, of samples to renders, averaged over the scenes X
    R        = (S_learned - S_initializer) / (S_renders - S_initializer)

S_renders is the similarity of the renders among themselves. R is 0 for the initializer and 1 for perfect samples. For a
style, the samples are "a {class} on X in the style of {}" with another class for each X, and the renders are toys of
that class on X in the style; the "other toys of its class" are then toys of that class in other styles.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from tinv import formats
from tinv.evaluation.metrics.scores import mean_pairwise_cosine
from tinv.formats import LearnedEmbedding
from tinv.runs.files import resolve_path
from tinv.runs.layout import concept_dirs
from tinv.toybox.captions import SCENE_PHRASES
from tinv.toybox.clip_features import ToyboxClip, area_under_curve
from tinv.toybox.concepts import ALL_CONCEPTS, get_concept, random_concept_view, random_other_view
from tinv.toybox.sampling import ToyboxPipeline, denoising_losses, load_pipeline, sample
from tinv.toybox.views import render

Generate = Callable[[Sequence[str], int], np.ndarray]
"""Draws images [B, 64, 64, 3] uint8 for prompts and a seed, as `tinv.toybox.sampling.sample` with a pipeline."""

SCENES = ("beach", "grass", "table", "brick")
"""The four scenes X."""
SAMPLES = 16
"""Samples in each scene."""
RENDERS = 40
"""Renders of the concept in each scene."""
EDITS = {
    "object": ("a {} on the beach", "a red {}", "a drawing of a {}"),
    "style": ("a cat toy on the beach in the style of {}", "a red car in the style of {}", "a star in the style of {}"),
}
"""Prompts that samples of a learned token should still match."""
CLASS_WORDS = {"cat_toy": "cat toy", "robot": "robot", "teapot": "teapot", "car": "car", "sepia": "drawing"}
"""The class noun of each concept, the reference of its editability."""
STYLE_SUBJECTS = {
    "beach": ("cat", "cat toy"),
    "grass": ("car", "car"),
    "table": ("mug", "mug"),
    "brick": ("house", "house"),
}
"""The kind and the noun of the toy in each scene for a style."""


def scene_prompt(name: str, word: str, scene: str) -> str:
    """Returns the prompt for a word in a scene."""
    phrase = SCENE_PHRASES[scene][0]
    if get_concept(name).kind == "object":
        return f"a photo of a {word} {phrase}"
    return f"a {STYLE_SUBJECTS[scene][1]} {phrase} in the style of {word}"


def scene_caption(caption: str, scene: str) -> str:
    """Returns a hand-written caption of a concept for a scene."""
    return caption.format(scene=SCENE_PHRASES[scene][0], subject=STYLE_SUBJECTS[scene][1])


def render_in_scene(name: str, scene: str, count: int, *, seed: int, others: bool = False) -> np.ndarray:
    """Returns renders in a scene, [count, 64, 64, 3] uint8.

    Args:
        name: a concept; for a style, the toys are `STYLE_SUBJECTS`.
        scene: one of the world's scenes.
        count: number of renders.
        seed: of the random views.
        others: other toys of the concept's class (for a style: other drawings) instead of the concept.
    """
    draw = random_other_view if others else random_concept_view
    rngs = [np.random.default_rng([seed, index, int(others)]) for index in range(count)]
    return np.stack([render(*draw(rng, name, scene=scene, kind=STYLE_SUBJECTS[scene][0])) for rng in rngs])


@dataclass(frozen=True)
class RenderedConcept:
    """Features of renders of a concept, and how well they separate it from similar toys."""

    name: str
    features: dict[str, Tensor]
    """For each scene, [RENDERS, D]."""
    ceiling: float
    """S_renders."""
    area_under_curve: float
    """Of the similarity to its renders: other renders of it versus other toys of its class in the same scene."""


def encode_renders(name: str, clip: ToyboxClip, *, seed: int = 0) -> RenderedConcept:
    """Renders a concept in the four scenes, and measures how well the features separate it from similar toys."""
    features, areas = {}, []
    for scene in SCENES:
        own = clip.encode_images(render_in_scene(name, scene, RENDERS, seed=seed))
        new = clip.encode_images(render_in_scene(name, scene, RENDERS, seed=seed + 1))
        others = clip.encode_images(render_in_scene(name, scene, RENDERS, seed=seed, others=True))
        areas.append(area_under_curve((new @ own.T).mean(1), (others @ own.T).mean(1)))
        features[scene] = own
    ceiling = float(np.mean([mean_pairwise_cosine(own) for own in features.values()]))
    return RenderedConcept(name, features, ceiling, float(np.mean(areas)))


def similarity_to_renders(
    target: RenderedConcept, ask: Callable[[str], str], generate: Generate, clip: ToyboxClip, *, seed: int = 0
) -> float:
    """Returns S for the prompt that `ask` returns for each scene."""
    scores = []
    for scene, own in target.features.items():
        features = clip.encode_images(generate([ask(scene)] * SAMPLES, seed))
        scores.append(float((features @ own.T).mean()))
    return float(np.mean(scores))


def recovery(learned: float, initializer: float, renders: float) -> float:
    """Returns R: (learned - initializer) / (renders - initializer)."""
    return (learned - initializer) / (renders - initializer)


def edit_alignment(name: str, word: str, generate: Generate, clip: ToyboxClip, *, seed: int = 0) -> dict[str, float]:
    """Returns CLIP-T of samples of each edit with a word; the captions have the class noun."""
    scores = {}
    for edit in EDITS[get_concept(name).kind]:
        caption = clip.encode_texts([edit.format(CLASS_WORDS[name])])
        scores[edit] = float((clip.encode_images(generate([edit.format(word)] * SAMPLES, seed)) @ caption.T).mean())
    return scores


@dataclass(frozen=True, kw_only=True)
class Denoising:
    """How much lower the denoising loss of unseen views is with one word than with another."""

    fall: float
    """Mean decrease of the loss from the initializer to the learned token; positive is better."""
    standard_error: float

    @property
    def sigmas(self) -> float:
        """The decrease in standard errors."""
        return self.fall / self.standard_error


Losses = Callable[[np.ndarray, Sequence[str]], Tensor]
"""Returns denoising losses [B] of images [B, 64, 64, 3] uint8 with captions, for fixed timesteps and noise."""


def held_out_denoising(
    name: str, word: str, initializer: str, losses: Losses, *, others: bool = False, seed: int = 5
) -> Denoising:
    """Compares the losses of two words on 40 unseen views, with the true scene in the prompt.

    Args:
        name: a concept.
        word: the learned token.
        initializer: its initializer token.
        losses: the denoising losses.
        others: on other toys of the class (other drawings, for a style) instead of the concept.
        seed: of the views.
    """
    renders, learned, initial = [], [], []
    for scene in SCENES:
        count = RENDERS // len(SCENES)
        renders.append(render_in_scene(name, scene, count, seed=seed, others=others))
        learned += [scene_prompt(name, word, scene)] * count
        initial += [scene_prompt(name, initializer, scene)] * count
    images = np.concatenate(renders)
    falls = losses(images, initial) - losses(images, learned)
    return Denoising(fall=float(falls.mean()), standard_error=float(falls.std() / len(falls) ** 0.5))


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The reference values for a concept, the same for all of its runs."""

    target: RenderedConcept
    initializer: str
    initial: float
    """S of the initializer."""
    caption: float
    """S of the best hand-written caption."""
    edit_alignment: dict[str, float]
    """CLIP-T of each edit with the class noun."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All measurements of one learned token."""

    concept: str
    initializer: str
    area_under_curve: float
    renders: float
    """S_renders."""
    initial: float
    """S of the initializer."""
    caption: float
    """S of the best hand-written caption."""
    learned: float
    """S of the learned token."""
    recovery: float
    """R."""
    denoising_sigmas: float
    """Decrease of the held-out loss, in standard errors."""
    denoising_sigmas_of_others: float
    """The same for other toys of the class, which the token should not explain better."""
    editability: dict[str, float]
    """CLIP-T of each edit with the learned token, relative to the class noun."""


def baseline(pipeline: ToyboxPipeline, name: str, initializer: str, clip: ToyboxClip) -> Baseline:
    """Measures the initializer, the captions and the class noun."""
    generate = partial(_generate, pipeline)
    target = encode_renders(name, clip)
    return Baseline(
        target=target,
        initializer=initializer,
        initial=similarity_to_renders(target, partial(scene_prompt, name, initializer), generate, clip),
        caption=max(
            similarity_to_renders(target, partial(scene_caption, caption), generate, clip)
            for caption in get_concept(name).captions
        ),
        edit_alignment=edit_alignment(name, CLASS_WORDS[name], generate, clip),
    )


def report(pipeline: ToyboxPipeline, word: str, before: Baseline, clip: ToyboxClip) -> Report:
    """Measures a learned token that is loaded into the pipeline."""
    generate, losses = partial(_generate, pipeline), partial(denoising_losses, pipeline)
    name, target = before.target.name, before.target
    learned = similarity_to_renders(target, partial(scene_prompt, name, word), generate, clip)
    edits = edit_alignment(name, word, generate, clip)
    fall, fall_of_others = (
        held_out_denoising(name, word, before.initializer, losses, others=others).sigmas for others in (False, True)
    )
    return Report(
        concept=name,
        initializer=before.initializer,
        area_under_curve=target.area_under_curve,
        renders=target.ceiling,
        initial=before.initial,
        caption=before.caption,
        learned=learned,
        recovery=recovery(learned, before.initial, target.ceiling),
        denoising_sigmas=fall,
        denoising_sigmas_of_others=fall_of_others,
        editability={edit: score / before.edit_alignment[edit] for edit, score in edits.items()},
    )


def _generate(pipeline: ToyboxPipeline, prompts: Sequence[str], seed: int) -> np.ndarray:
    return sample(pipeline, prompts, seed=seed)


def add_token(pipeline: ToyboxPipeline, learned: LearnedEmbedding) -> None:
    """Loads the vectors of each text encoder into a pipeline; an encoder without vectors reads the token as text."""
    for role, vectors_KD in learned.vectors.items():
        suffix = "_2" if role == "t5" else ""
        pipeline.load_textual_inversion(
            vectors_KD,
            token=learned.placeholder_token,
            tokenizer=getattr(pipeline, f"tokenizer{suffix}"),
            text_encoder=getattr(pipeline, f"text_encoder{suffix}"),
        )


def find_concept_name(placeholder: str) -> str:
    """Returns the concept that a token is named after: cat_toy for `<cat-toy>`, robot for `<robot-toy>`."""
    words = placeholder.strip("<>").split("-")
    names = [each.name for each in ALL_CONCEPTS]
    return get_concept(words[0] if words[0] in names else "_".join(words)).name


def main() -> None:
    """`python -m tinv.toybox.recovery --run DIR...`: prints a JSON line for each run."""
    parser = argparse.ArgumentParser(prog="python -m tinv.toybox.recovery", description=main.__doc__)
    parser.add_argument("--run", type=Path, nargs="+", required=True, help="folders with learned_embeds.safetensors")
    parser.add_argument(
        "--concept", choices=[each.name for each in ALL_CONCEPTS], help="default: by the placeholder token"
    )
    parser.add_argument("--initializer", help="the initializer token (default: the concept's own)")
    arguments = parser.parse_args()
    clip, baselines = ToyboxClip(), dict[tuple[str, str, str], Baseline]()
    for folder in (concept_dir for run in arguments.run for concept_dir in concept_dirs(run)):
        learned = formats.read(folder / "learned_embeds.safetensors")
        word, base_model = learned.placeholder_token, learned.provenance["base_model"]
        name = arguments.concept or find_concept_name(word)
        initializer = arguments.initializer or get_concept(name).initializer_token
        pipeline = load_pipeline(resolve_path(base_model))
        key = (base_model, name, initializer)
        if key not in baselines:
            baselines[key] = baseline(pipeline, name, initializer, clip)
        add_token(pipeline, learned)
        measured = report(pipeline, word, baselines[key], clip)
        print(json.dumps({"run": str(folder), **asdict(measured)}), flush=True)


if __name__ == "__main__":
    main()
