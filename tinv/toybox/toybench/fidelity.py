"""Compares samples of a toybench embedding with renders of its toy.

Similarity to the five training images says little, because backgrounds dominate it. The renderer can draw a toy
anywhere, so samples of "a photo of a {} on X" are compared with renders on the same X, over four scenes X, as in
`tinv.toybox.recovery`:

    matched     = S(token), the mean similarity of samples to renders
    recovery    = (S(token) - S(noun)) / (S(renders) - S(noun)): 0 for the class noun, 1 for the toy itself
    editability = mean over edits of CLIP-T(token) / CLIP-T(noun): 1 if edits match as well as for the class noun

The noun is the class noun, whatever the initializer token was, so that runs can be compared.

`python -m tinv.toybox.toybench.fidelity SWEEP` computes these and the scores of `tinv evaluate` in one process.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from tinv.cli.generate import seeds
from tinv.errors import UserError
from tinv.evaluation import EvaluationConfig, Evaluator, find_targets
from tinv.evaluation.metrics.feature_extractors import FeatureExtractors
from tinv.evaluation.metrics.measure import Scores, insert_class_noun
from tinv.evaluation.metrics.scores import image_similarity, mean_pairwise_cosine, text_alignment
from tinv.evaluation.results import Result
from tinv.evaluation.table import print_result, print_summary
from tinv.evaluation.targets import EvaluationTarget
from tinv.models.sampling import generate_images
from tinv.toybox.captions import SCENE_PHRASES
from tinv.toybox.palette import named_color
from tinv.toybox.recovery import SCENES
from tinv.toybox.toybench.toys_by_name import class_noun_of, find_toy
from tinv.toybox.toys import Toy
from tinv.toybox.views import random_view, render

RENDERS = 40
"""Number of renders of the toy in each scene."""
SCENE_PROMPTS = {scene: f"a photo of a {{}} {SCENE_PHRASES[scene][0]}" for scene in SCENES}
"""The prompts whose samples are compared with renders, by scene."""
EDITS = ("a {} on the beach", "a {} at night", "a red {}", "a drawing of a {}")
"""The prompts of editability."""
PROMPTS = (*SCENE_PROMPTS.values(), *EDITS)


def render_in_scene(toy: Toy, scene: str, count: int = RENDERS, *, seed: int = 0) -> list[Image.Image]:
    """Returns renders of a toy in a scene."""
    views = [random_view(np.random.default_rng([seed, i]), style="photo", scene=scene) for i in range(count)]
    white = [named_color(np.random.default_rng([seed, i, 1]), "white") for i in range(count)]
    return [
        Image.fromarray(render(toy, replace(view, backdrop=color))) for view, color in zip(views, white, strict=True)
    ]


@dataclass(frozen=True)
class _ToyReference:
    """The values of a toy that do not depend on the embedding."""

    renders: dict[str, Tensor]
    """Features [RENDERS, D] by scene."""
    ceiling: float
    """S(renders)."""
    start: float
    """S(noun)."""
    edit_alignment: dict[str, float]
    """CLIP-T of each edit with the noun."""


class RenderMetrics:
    """Computes `matched`, `recovery` and `editability`; computes the values of a toy once."""

    def __init__(self, *, seeds: Sequence[int] = range(8)) -> None:
        """Args:
        seeds: of the samples with the class noun; use those of the samples to be measured.
        """
        self.seeds = list(seeds)
        self.settings = {"renders": RENDERS, "scenes": [*SCENES], "edits": [*EDITS], "version": 1}
        self._references: dict[str, _ToyReference] = {}

    def __call__(
        self,
        target: EvaluationTarget,
        samples: Mapping[str, Sequence[Image.Image]],
        *,
        extractors: FeatureExtractors,
        model: Any,
        drawing: Mapping[str, Any],
    ) -> Scores:
        """Returns the three scores of an embedding."""
        word = target.token
        noun = class_noun_of(word)
        key = f"{word} {drawing['model']} {drawing['sampling']}"
        if key not in self._references:
            self._references[key] = self._measure_reference(
                find_toy(word), noun, extractors, model, drawing["sampling"]
            )
        reference = self._references[key]
        matched = _similarity_to_renders(samples, reference.renders, extractors)
        alignment = _edit_alignment(samples, noun, extractors)
        return {
            "matched": matched,
            "recovery": (matched - reference.start) / (reference.ceiling - reference.start),
            "editability": mean(alignment[edit] / reference.edit_alignment[edit] for edit in EDITS),
        }

    def _measure_reference(
        self, toy: Toy, noun: str, extractors: FeatureExtractors, model: Any, sampling: Mapping[str, Any]
    ) -> _ToyReference:
        renders = {scene: extractors.clip.encode_images(render_in_scene(toy, scene)) for scene in SCENES}
        plain = {
            prompt: generate_images(
                model, [insert_class_noun(prompt, noun)] * len(self.seeds), {}, seeds=self.seeds, **sampling
            )
            for prompt in PROMPTS
        }
        return _ToyReference(
            renders,
            mean(mean_pairwise_cosine(features) for features in renders.values()),
            _similarity_to_renders(plain, renders, extractors),
            _edit_alignment(plain, noun, extractors),
        )


def _similarity_to_renders(
    samples: Mapping[str, Sequence[Image.Image]], renders: Mapping[str, Tensor], extractors: FeatureExtractors
) -> float:
    return mean(
        image_similarity(extractors.clip.encode_images(samples[SCENE_PROMPTS[scene]]), renders[scene])
        for scene in SCENES
    )


def _edit_alignment(
    samples: Mapping[str, Sequence[Image.Image]], noun: str, extractors: FeatureExtractors
) -> dict[str, float]:
    alignments = {}
    for edit in EDITS:
        features = extractors.clip.encode_images(samples[edit])
        alignments[edit] = text_alignment(
            features, extractors.clip.encode_texts([insert_class_noun(edit, noun)]).expand_as(features)
        )
    return alignments


def evaluate_toys(
    targets: Sequence[EvaluationTarget],
    *,
    seeds: Sequence[int] = range(8),
    num_inference_steps: int = 20,
    device: str | None = None,
) -> list[Result]:
    """Evaluates embeddings of toys in this process, except those that are evaluated already.

    Args:
        targets: embeddings of toys.
        seeds: samples of each prompt.
        num_inference_steps: of the sampler.
        device: for samples and feature extractors; None is the fastest.

    Raises:
        UserError: a token is none of the toys.
    """
    nouns = [class_noun_of(target.token) for target in targets]
    evaluator, evaluations = Evaluator(RenderMetrics(seeds=seeds)), []
    common = EvaluationConfig(
        prompts=PROMPTS,
        seeds=list(seeds),
        num_inference_steps=num_inference_steps,
        feature_extractors="toybox",
        device=device,
        batch_size=32,
    )
    for target, noun in zip(targets, nouns, strict=True):
        result, is_new = evaluator.evaluate(target, replace(common, class_noun=noun))
        print_result(target, result, is_new)
        evaluations.append(result)
    return evaluations


def main() -> int:
    """`python -m tinv.toybox.toybench.fidelity PATH...`"""
    parser = argparse.ArgumentParser(prog="python -m tinv.toybox.toybench.fidelity", description=main.__doc__)
    parser.add_argument("paths", nargs="+", type=Path, help="runs and sweeps of toys of the toybox's world")
    parser.add_argument("--seeds", type=seeds, default=list(range(8)), help="samples of each prompt (default 0-7)")
    parser.add_argument("--num-inference-steps", type=int, default=20, help="of the solver (default 20)")
    arguments = parser.parse_args()
    try:
        by_path = find_targets(arguments.paths)
        targets = [target for of_path in by_path.values() for target in of_path]
        options = {"seeds": arguments.seeds, "num_inference_steps": arguments.num_inference_steps}
        print_summary(by_path, evaluate_toys(targets, **options))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
