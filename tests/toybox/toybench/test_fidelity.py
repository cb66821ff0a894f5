"""Recovery is one for renders of the toy and zero for the class noun; features separate the twelve toys."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.toybox.toybench.test_toybench import NAMES
from tinv import formats
from tinv.errors import UserError
from tinv.evaluation import find_targets
from tinv.evaluation.metrics.feature_extractors import FeatureExtractors, LocatedExtractors
from tinv.evaluation.targets import EvaluationTarget
from tinv.formats import LearnedEmbedding
from tinv.toybox import concepts
from tinv.toybox.clip_features import area_under_curve
from tinv.toybox.concepts import random_toy_of_kind
from tinv.toybox.toybench import class_noun, fidelity
from tinv.toybox.toybench.fidelity import (
    EDITS,
    PROMPTS,
    SCENE_PROMPTS,
    SCENES,
    RenderMetrics,
    evaluate_toys,
    render_in_scene,
)
from tinv.toybox.toybench.toys import TOYS, find_similar_toy
from tinv.toybox.toybench.toys_by_name import class_noun_of, find_toy
from tinv.toybox.toys import Toy

DRAWING = {"model": "m", "sampling": {}}


@pytest.fixture(scope="module")
def extractors() -> FeatureExtractors:
    return LocatedExtractors.locate("toybox").load()


def target(word: str) -> EvaluationTarget:
    return EvaluationTarget(Path(), Path(), LearnedEmbedding(word, {}, {}))


def perfect_samples(toy: Toy, prompt: str, seed: int) -> list[Image.Image]:
    """Returns renders of the toy in the scene of the prompt."""
    scene = next((scene for scene, text in SCENE_PROMPTS.items() if text == prompt), "table")
    return render_in_scene(toy, scene, 4, seed=seed)


class Generator:
    """Draws renders of another toy for the class noun."""

    def __init__(self, toy: Toy) -> None:
        self.toy, self.calls = toy, 0

    def generate(self, prompts: Sequence[str], vectors: Any, *, seeds: Sequence[int]) -> list[Image.Image]:
        self.calls += 1
        assert not vectors
        assert len(prompts) == len(seeds)
        template = next(prompt for prompt in PROMPTS if prompt.replace("{}", "mug") == prompts[0])
        return perfect_samples(self.toy, template, 50)


def other_mug() -> Toy:
    rng = np.random.default_rng(0)
    return next(toy for toy in iter(lambda: random_toy_of_kind(rng, "mug"), None) if find_similar_toy(toy) is None)


def test_recovery_is_one_for_the_toy_and_zero_for_the_class_noun(
    extractors: FeatureExtractors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fidelity, "generate_images", Generator.generate)
    metrics, model = RenderMetrics(seeds=range(4)), Generator(other_mug())
    options = {"extractors": extractors, "model": model, "drawing": DRAWING}
    perfect = metrics(target("<teal-mug>"), {p: perfect_samples(TOYS["teal_mug"], p, 7) for p in PROMPTS}, **options)
    plain = metrics(target("<teal-mug>"), {p: perfect_samples(model.toy, p, 50) for p in PROMPTS}, **options)
    assert perfect["recovery"] == pytest.approx(1, abs=0.15)
    assert plain["recovery"] == pytest.approx(0, abs=1e-6)
    assert plain["editability"] == pytest.approx(1, abs=1e-6)
    assert perfect["matched"] > plain["matched"] + 0.1
    assert model.calls == len(PROMPTS), "values of the toy are computed once"


def test_tokens_find_their_toys_and_others_are_refused() -> None:
    assert find_toy("<teal-mug>") == TOYS["teal_mug"]
    assert find_toy("<cat-toy>") == concepts.CAT
    assert find_toy("<robot-toy>") == concepts.ROBOT
    with pytest.raises(UserError, match="<sepia-ink> is none of the toys that can be rendered"):
        find_toy("<sepia-ink>")


@pytest.mark.parametrize(
    ("word", "noun"),
    [
        ("<teal-mug>", "mug"),
        ("<lime-cat>", "cat"),
        ("<cat-toy>", "toy"),
        ("<robot-toy>", "robot"),
        ("<car-toy>", "car"),
    ],
)
def test_the_class_noun_of_a_token(word: str, noun: str) -> None:
    assert class_noun_of(word) == noun


def test_two_toys_of_a_sweep_are_compared_with_their_own_class_nouns(tmp_path: Path) -> None:
    """Even if the embeddings have no initializer token."""
    words = {"<teal-mug>": "mug", "<lime-star>": "star"}
    for point, word in enumerate(words):
        provenance = {"base_model": "pkg://tinv/toybox/pipeline"}
        embedding = LearnedEmbedding(word, {"clip_l": torch.zeros(1, 128)}, provenance)
        formats.write(tmp_path / str(point) / "learned_embeds.safetensors", embedding)
    toys = find_targets([tmp_path])[tmp_path]
    done = evaluate_toys(toys, seeds=(0,), num_inference_steps=1)
    assert {result["placeholder_token"]: result["class_noun"] for result in done} == words
    assert all(result["scores"]["recovery"] is not None for result in done)
    again = [json.loads((tmp_path / str(point) / "evaluation.json").read_text()) for point in range(2)]
    assert again == done
    assert evaluate_toys(toys, seeds=(0,), num_inference_steps=1) == done


def test_prompts_are_unique() -> None:
    assert len(set(PROMPTS)) == len(PROMPTS) == len(SCENES) + len(EDITS)
    assert all(prompt.count("{}") == 1 for prompt in PROMPTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_image_encoder_separates_each_toy_from_others_of_its_class(
    name: str, extractors: FeatureExtractors
) -> None:
    rng, areas = np.random.default_rng(1), []
    for scene in SCENES:
        own = extractors.clip.encode_images(render_in_scene(TOYS[name], scene, seed=0))
        new = extractors.clip.encode_images(render_in_scene(TOYS[name], scene, seed=1))
        others = [random_toy_of_kind(rng, class_noun(name)) for _ in range(40)]
        unlike = extractors.clip.encode_images(
            [render_in_scene(toy, scene, 1, seed=2 + i)[0] for i, toy in enumerate(others)]
        )
        areas.append(area_under_curve((new @ own.T).mean(1), (unlike @ own.T).mean(1)))
    assert np.mean(areas) >= 0.95
