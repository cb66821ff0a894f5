"""Has a word learned a toy of the toybox's world? Measured against fresh renders of it, which nobody else can have.

Likeness to five training pictures says little there, as backgrounds dominate it. The world renders a toy anywhere, so
samples of "a photo of a {} on X" are compared with renders of it on the same X, over four X, as `tinv.toybox.recovery`
does:

    matched     = S(word), the mean likeness of samples to renders
    recovery    = (S(word) - S(noun)) / (S(renders) - S(noun)): 0 is the plain noun, 1 the toy itself
    editability = mean over edits of CLIP-T(word) / CLIP-T(noun): 1 obeys as the plain noun does

The noun is that of the toy's class, whatever the word was started from, so that runs can be compared.

`python -m tinv.toybox.toybench.fidelity SWEEP` measures them along with what `tinv evaluate` does, in one process.
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
from tinv.evaluation import Bench, Settings, find_subjects, table
from tinv.evaluation.evaluate import Result
from tinv.evaluation.metrics.feature_extractors import Towers
from tinv.evaluation.metrics.measure import Scores, with_noun
from tinv.evaluation.metrics.scores import image_similarity, mean_pairwise_cosine, text_alignment
from tinv.evaluation.subjects import Subject
from tinv.models.sampling import generate_images
from tinv.toybox.captions import PLACES
from tinv.toybox.palette import named
from tinv.toybox.recovery import SCENES
from tinv.toybox.toybench.known import noun_of, toy_of
from tinv.toybox.toys import Toy
from tinv.toybox.views import any_view, render

RENDERS = 40
"""Of the toy in each scene."""
FAITHFUL = {scene: f"a photo of a {{}} {PLACES[scene][0]}" for scene in SCENES}
"""What is compared with renders."""
EDITS = ("a {} on the beach", "a {} at night", "a red {}", "a drawing of a {}")
"""What must still be obeyed."""
PROMPTS = (*FAITHFUL.values(), *EDITS)


def renders_on(toy: Toy, scene: str, count: int = RENDERS, *, seed: int = 0) -> list[Image.Image]:
    """Fresh renders of a toy in a scene."""
    views = [any_view(np.random.default_rng([seed, i]), style="photo", scene=scene) for i in range(count)]
    white = [named(np.random.default_rng([seed, i, 1]), "white") for i in range(count)]
    return [
        Image.fromarray(render(toy, replace(view, backdrop=colour))) for view, colour in zip(views, white, strict=True)
    ]


@dataclass(frozen=True)
class _Known:
    """What is the same for every word of a toy."""

    renders: dict[str, Tensor]
    """Features [RENDERS, D] by scene."""
    ceiling: float
    """S(renders)."""
    start: float
    """S(noun)."""
    obedience: dict[str, float]
    """CLIP-T of each edit with the noun."""


class AgainstRenders:
    """Measures `matched`, `recovery` and `editability`; what does not depend on the word is done once a toy."""

    def __init__(self, *, seeds: Sequence[int] = range(8)) -> None:
        """Args:
        seeds: of the samples of the plain name; those of the word should be the same.
        """
        self.seeds = list(seeds)
        self.told = {"renders": RENDERS, "scenes": [*SCENES], "edits": [*EDITS], "version": 1}
        self._known: dict[str, _Known] = {}

    def __call__(
        self,
        subject: Subject,
        samples: Mapping[str, Sequence[Image.Image]],
        *,
        feature_extractors: Towers,
        model: Any,
        told: Any,
    ) -> Scores:
        """The three numbers of a word."""
        word = subject.learned.placeholder_token
        noun = noun_of(word)
        key = f"{word} {told['model']} {told['sampling']}"
        if key not in self._known:
            self._known[key] = self._look(toy_of(word), noun, feature_extractors, model, told["sampling"])
        known = self._known[key]
        matched = _matched(samples, known.renders, feature_extractors)
        obeyed = _obeyed(samples, noun, feature_extractors)
        return {
            "matched": matched,
            "recovery": (matched - known.start) / (known.ceiling - known.start),
            "editability": mean(obeyed[edit] / known.obedience[edit] for edit in EDITS),
        }

    def _look(self, toy: Toy, noun: str, feature_extractors: Towers, model: Any, sampling: Mapping[str, Any]) -> _Known:
        renders = {scene: feature_extractors.clip.images(renders_on(toy, scene)) for scene in SCENES}
        plain = {
            prompt: generate_images(
                model, [with_noun(prompt, noun)] * len(self.seeds), {}, seeds=self.seeds, **sampling
            )
            for prompt in PROMPTS
        }
        return _Known(
            renders,
            mean(mean_pairwise_cosine(features) for features in renders.values()),
            _matched(plain, renders, feature_extractors),
            _obeyed(plain, noun, feature_extractors),
        )


def _matched(
    samples: Mapping[str, Sequence[Image.Image]], renders: Mapping[str, Tensor], feature_extractors: Towers
) -> float:
    return mean(
        image_similarity(feature_extractors.clip.images(samples[FAITHFUL[scene]]), renders[scene]) for scene in SCENES
    )


def _obeyed(samples: Mapping[str, Sequence[Image.Image]], noun: str, feature_extractors: Towers) -> dict[str, float]:
    found = {}
    for edit in EDITS:
        seen = feature_extractors.clip.images(samples[edit])
        found[edit] = text_alignment(seen, feature_extractors.clip.texts([with_noun(edit, noun)]).expand_as(seen))
    return found


def measured(
    words: Sequence[Subject], *, seeds: Sequence[int] = range(8), steps: int = 20, device: str | None = None
) -> list[Result]:
    """Evaluate words on the toybox, all in this process; what is there is not done again.

    Args:
        words: of toys.
        seeds: samples of each prompt.
        steps: of the solver.
        device: of samples and towers; None is the fastest.

    Raises:
        UserError: a word is none of the toys.
    """
    nouns = [noun_of(word.learned.placeholder_token) for word in words]
    bench, done = Bench(AgainstRenders(seeds=seeds)), []
    common = Settings(
        prompts=PROMPTS,
        seeds=list(seeds),
        num_inference_steps=steps,
        feature_extractors="toybox",
        device=device,
        batch_size=32,
    )
    for word, noun in zip(words, nouns, strict=True):
        result, is_new = bench.result(word, replace(common, class_noun=noun))
        table.tell(word, result, is_new)
        done.append(result)
    return done


def main() -> int:
    """`python -m tinv.toybox.toybench.fidelity PLACE...`"""
    parser = argparse.ArgumentParser(prog="python -m tinv.toybox.toybench.fidelity", description=main.__doc__)
    parser.add_argument("places", nargs="+", type=Path, help="runs and sweeps of toys of the toybox's world")
    parser.add_argument("--seeds", type=seeds, default=list(range(8)), help="samples of each prompt (default 0-7)")
    parser.add_argument("--num-inference-steps", type=int, default=20, help="of the solver (default 20)")
    arguments = parser.parse_args()
    try:
        found = find_subjects(arguments.places)
        words = [word for of_place in found.values() for word in of_place]
        table.conclude(found, measured(words, seeds=arguments.seeds, steps=arguments.steps))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
