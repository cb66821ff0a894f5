"""Has a word learned a toybox concept? Fidelity, held-out denoising and editability, measured.

Similarity to the training pictures says little, as backgrounds dominate it. The world can render a concept anywhere,
so samples of "a photo of a {} on X" are compared with fresh renders of the concept on the same X:

    S(word) = mean similarity, by the toybox's image tower, of samples to renders, averaged over the scenes X
    R       = (S_learned - S_initializer) / (S_renders - S_initializer)

S_renders is that of the renders among themselves: 0 is where learning began, 1 is the concept itself. For a style,
the samples are "a {class} on X in the style of {}", with another class for each X, and the renders are toys of that
class on X drawn in the style; "other toys of its class" are then toys of that class drawn in other ways.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from tinv.runs.layout import concept_dirs
from tinv.toybox.captions import SCENE_PHRASES
from tinv.toybox.clip_features import ToyboxClip, area_under_curve
from tinv.toybox.concepts import ALL_CONCEPTS, get_concept, random_concept_view, random_other_view
from tinv.toybox.sampling import denoising_losses, load_pipeline, sample
from tinv.toybox.views import render

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

Generate = Callable[[Sequence[str], int], np.ndarray]
"""(prompts, seed) to pictures, [B, 64, 64, 3] uint8; `tinv.toybox.sampling.sample` with a pipeline bound to it."""

SCENES = ("beach", "grass", "table", "brick")
"""The four X."""
SAMPLES = 16
"""Generated pictures in each scene."""
RENDERS = 40
"""Fresh renders of the concept in each scene."""
EDITS = {
    "object": ("a {} on the beach", "a red {}", "a drawing of a {}"),
    "style": ("a cat toy on the beach in the style of {}", "a red car in the style of {}", "a star in the style of {}"),
}
"""Prompts that a learned word must still obey."""
CLASS_WORDS = {"cat_toy": "cat toy", "robot": "robot", "teapot": "teapot", "car": "car", "sepia": "drawing"}
"""The plain word for each concept, against which its editability is held."""
STYLE_SUBJECTS = {
    "beach": ("cat", "cat toy"),
    "grass": ("car", "car"),
    "table": ("mug", "mug"),
    "brick": ("house", "house"),
}
"""What is drawn in each scene when the concept is a style: its kind and its noun."""


def scene_prompt(name: str, word: str, scene: str) -> str:
    """What to ask for to see the word in a scene."""
    phrase = SCENE_PHRASES[scene][0]
    if get_concept(name).kind == "object":
        return f"a photo of a {word} {phrase}"
    return f"a {STYLE_SUBJECTS[scene][1]} {phrase} in the style of {word}"


def scene_caption(caption: str, scene: str) -> str:
    """A hand-written caption of a concept, for a scene."""
    return caption.format(place=SCENE_PHRASES[scene][0], subject=STYLE_SUBJECTS[scene][1])


def render_in_scene(name: str, scene: str, count: int, *, seed: int, others: bool = False) -> np.ndarray:
    """Fresh renders in a scene, [count, 64, 64, 3] uint8.

    Args:
        name: a concept; a style is shown on `STYLE_SUBJECTS`.
        scene: one of the world's scenes.
        count: how many.
        seed: which ones.
        others: other toys of the concept's class (for a style: other drawings) instead of the concept.
    """
    draw = random_other_view if others else random_concept_view
    rngs = [np.random.default_rng([seed, index, int(others)]) for index in range(count)]
    return np.stack([render(*draw(rng, name, scene=scene, kind=STYLE_SUBJECTS[scene][0])) for rng in rngs])


def among_themselves(features: Tensor) -> float:
    """Mean similarity of different pictures of a set, [N, D]."""
    similarity = features @ features.T
    count = len(features)
    return float((similarity.sum() - similarity.diagonal().sum()) / (count * (count - 1)))


@dataclass(frozen=True)
class RenderedConcept:
    """Renders of a concept, as the tower sees them, and how well the tower knows it from others like it."""

    name: str
    features: dict[str, Tensor]
    """For each scene, [RENDERS, D]."""
    ceiling: float
    """S_renders."""
    area_under_curve: float
    """Of similarity to the concept's renders: other renders of it against other toys of its class in the same scene."""


def encode_renders(name: str, clip: ToyboxClip, *, seed: int = 0) -> RenderedConcept:
    """Render a concept in the four scenes, and put the tower to the test."""
    features, areas = {}, []
    for scene in SCENES:
        own = clip.encode_images(render_in_scene(name, scene, RENDERS, seed=seed))
        new = clip.encode_images(render_in_scene(name, scene, RENDERS, seed=seed + 1))
        others = clip.encode_images(render_in_scene(name, scene, RENDERS, seed=seed, others=True))
        areas.append(area_under_curve((new @ own.T).mean(1), (others @ own.T).mean(1)))
        features[scene] = own
    ceiling = float(np.mean([among_themselves(own) for own in features.values()]))
    return RenderedConcept(name, features, ceiling, float(np.mean(areas)))


def similarity_to_renders(
    target: RenderedConcept, ask: Callable[[str], str], generate: Generate, clip: ToyboxClip, *, seed: int = 0
) -> float:
    """S of what `ask` says for each scene."""
    scores = []
    for scene, own in target.features.items():
        features = clip.encode_images(generate([ask(scene)] * SAMPLES, seed))
        scores.append(float((features @ own.T).mean()))
    return float(np.mean(scores))


def recovery(learned: float, initializer: float, renders: float) -> float:
    """R: which share of the way from the initializer to the concept has been gone."""
    return (learned - initializer) / (renders - initializer)


def edit_alignment(name: str, word: str, generate: Generate, clip: ToyboxClip, *, seed: int = 0) -> dict[str, float]:
    """CLIP-T of each edit with a word in it, always against the edit with the class's own word as the caption."""
    scores = {}
    for edit in EDITS[get_concept(name).kind]:
        caption = clip.encode_texts([edit.format(CLASS_WORDS[name])])
        scores[edit] = float((clip.encode_images(generate([edit.format(word)] * SAMPLES, seed)) @ caption.T).mean())
    return scores


@dataclass(frozen=True, kw_only=True)
class Denoising:
    """How much better a word explains unseen views than another does."""

    fall: float
    """Mean fall of the loss from the initializer to the learned word; positive is better."""
    standard_error: float

    @property
    def sigmas(self) -> float:
        """The fall in standard errors."""
        return self.fall / self.standard_error


Losses = Callable[[np.ndarray, Sequence[str]], Tensor]
"""(pictures [B, 64, 64, 3] uint8, captions) to a denoising loss for each, with fixed timesteps and noise: [B]."""


def held_out_denoising(
    name: str, word: str, initializer: str, losses: Losses, *, others: bool = False, seed: int = 5
) -> Denoising:
    """Compare two words on 40 unseen views with the true scene in the prompt and the same draws.

    Args:
        name: a concept.
        word: the learned one.
        initializer: the one it began as.
        losses: the fixed-draw loss.
        others: on other toys of the class (other drawings, for a style) instead of the concept.
        seed: which views.
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
    """What a learned word is held against: the same for every run of a concept."""

    target: RenderedConcept
    initializer: str
    initial: float
    """S of the initializer."""
    caption: float
    """S of the best hand-written caption."""
    edit_alignment: dict[str, float]
    """CLIP-T of each edit with the class's own word."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that is measured about one learned word."""

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
    """S of the learned word."""
    recovery: float
    """R."""
    denoising_sigmas: float
    """Fall of the held-out loss, in standard errors."""
    denoising_sigmas_of_others: float
    """The same for other toys of the class: a word that means this toy should not explain those better."""
    editability: dict[str, float]
    """For each edit, the learned word's CLIP-T as a share of the class word's."""


def baseline(pipeline: "StableDiffusionPipeline", name: str, initializer: str, clip: ToyboxClip) -> Baseline:
    """Measure the words that were there before."""
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


def report(pipeline: "StableDiffusionPipeline", word: str, before: Baseline, clip: ToyboxClip) -> Report:
    """Measure a learned word, `pipeline` having it loaded."""
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


def _generate(pipeline: "StableDiffusionPipeline", prompts: Sequence[str], seed: int) -> np.ndarray:
    return sample(pipeline, prompts, seed=seed)


def find_concept_name(placeholder: str) -> str:
    """The concept that a placeholder is called after: `<cat-toy>` is cat_toy, `<robot-toy>` is robot."""
    words = placeholder.strip("<>").split("-")
    whole, first = "_".join(words), words[0]
    names = [c.name for c in ALL_CONCEPTS]
    return get_concept(first if first in names else whole).name


def main() -> None:
    """`python -m tinv.toybox.recovery --run DIR...`: measure what runs have learned, a JSON object a line."""
    parser = argparse.ArgumentParser(prog="python -m tinv.toybox.recovery", description=main.__doc__)
    parser.add_argument("--run", type=Path, nargs="+", required=True, help="folders with learned_embeds.safetensors")
    parser.add_argument("--concept", choices=[c.name for c in ALL_CONCEPTS], help="default: by the placeholder's name")
    parser.add_argument("--initializer", help="the word that learning began from (default: the concept's own)")
    arguments = parser.parse_args()
    clip, baselines = ToyboxClip(), dict[tuple[str, str], Baseline]()
    for folder in (phrase for run in arguments.run for phrase in concept_dirs(run)):
        word = (folder / "token_identifier.txt").read_text().strip()
        name = arguments.concept or find_concept_name(word)
        initializer = arguments.initializer or get_concept(name).initializer_token
        pipeline = load_pipeline()
        if (name, initializer) not in baselines:
            baselines[name, initializer] = baseline(pipeline, name, initializer, clip)
        pipeline.load_textual_inversion(folder / "learned_embeds.safetensors", token=word)
        found = report(pipeline, word, baselines[name, initializer], clip)
        print(json.dumps({"run": str(folder), **asdict(found)}), flush=True)


if __name__ == "__main__":
    main()
