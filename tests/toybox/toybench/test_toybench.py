"""The images, captions and masks of the twelve toys are the rendered ones; the training set has nothing similar."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.toybox.rendered import is_as_rendered
from tinv.concept import Concept
from tinv.config.validate import build
from tinv.runs.files import resolve_path
from tinv.toybox import concepts
from tinv.toybox.captions import SCENE_PHRASES
from tinv.toybox.palette import named_color
from tinv.toybox.pretrain.images import TRAINING_SEEDS
from tinv.toybox.toybench import NAMES, class_noun, make_concept
from tinv.toybox.toybench.render_images import COUNT, IMAGES, MASKS, captions, mask, render_example, scenes
from tinv.toybox.toybench.toys import TOYS, VISIBLE_PROPORTIONS, are_similar, find_similar_toy
from tinv.toybox.toys import KINDS
from tinv.toybox.world import describe


def test_there_are_twelve_toys_of_all_kinds():
    assert len(NAMES) == len(set(NAMES)) == len(TOYS) == 12
    assert {class_noun(name) for name in NAMES} == {toy.kind for toy in TOYS.values()} == set(KINDS)
    assert all(TOYS[name].kind == class_noun(name) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_files_are_the_rendered_ones(name):
    for index in range(COUNT):
        assert is_as_rendered(IMAGES / name / f"{index + 1}.png", render_example(name, index))
        assert is_as_rendered(MASKS / name / f"{index + 1}.png", mask(name, index))
        lines = (IMAGES / name / f"{index + 1}.txt").read_text(encoding="utf-8").splitlines()
        assert lines == captions(name, index)
    assert {path.stem for folder in (IMAGES, MASKS) for path in (folder / name).iterdir()} == set("12345")


@pytest.mark.parametrize("name", NAMES)
def test_captions_mention_only_the_location(name):
    locations = [captions(name, index)[1].removeprefix("a {} ") for index in range(COUNT)]
    assert locations == [SCENE_PHRASES[scene][0] if scene else "on a white background" for scene in scenes(name)]
    assert len(set(locations)) == COUNT
    hues = {"lime", "teal", "magenta", *KINDS}
    assert not hues & {word for index in range(COUNT) for line in captions(name, index) for word in line.split()}


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_covers_the_toy(name):
    """Outside the mask, the image does not depend on the color of the toy."""
    other = replace(TOYS[name], color=named_color(np.random.default_rng(0), "red"))
    for index in range(COUNT):
        inside = mask(name, index)
        assert 0.05 < (inside == 255).mean() < 0.6
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(TOYS, name, other)
            before = np.asarray(Image.open(IMAGES / name / f"{index + 1}.png")).astype(int)
            changed = (
                np.abs(render_example(name, index) - before).max(2) > 1
            )  # an edge may cover less than 8 bits can say
        assert changed.any()
        assert not (changed & (inside == 0)).any()


@pytest.mark.parametrize("count", [1500, pytest.param(80_000, marks=pytest.mark.slow)])
def test_no_training_image_is_similar_to_one(count):
    """The slow test checks every training image."""
    descriptions = map(describe, range(TRAINING_SEEDS, TRAINING_SEEDS + count))
    assert not [seed for seed, description in enumerate(descriptions) if find_similar_toy(description.toy)]


@pytest.mark.slow
def test_training_images_are_similar_to_common_toys_of_the_same_hues():
    """So the choice of the twelve matters."""
    common = replace(TOYS["lime_star"], pattern="two", accent=named_color(np.random.default_rng(0), "white"))
    seen = (describe(seed).toy for seed in range(TRAINING_SEEDS, TRAINING_SEEDS + 80_000))
    assert sum(are_similar(toy, common) for toy in seen) > 2


@pytest.mark.parametrize("name", NAMES)
def test_no_toy_is_similar_to_another_or_to_a_concept(name):
    toy = TOYS[name]
    assert find_similar_toy(toy) == name
    assert not any(is_like(toy) for is_like in concepts.REGIONS.values())


def test_proportions_distinguish_toys_of_equal_colors():
    mug = TOYS["teal_mug"]
    shape = {part: (getattr(mug.build, part) + 0.5) % 1 for part in VISIBLE_PROPORTIONS["mug"]}
    assert not are_similar(replace(mug, build=replace(mug.build, **shape)), mug)
    assert are_similar(replace(mug, build=replace(mug.build, variant=1 - mug.build.variant)), mug)


def test_the_experiment_chooses_concept_and_images_by_name(compose):
    cfg = compose("+experiment=toybench", "concept.name=teal_mug")
    assert build(cfg.concept) == Concept(placeholder_token="<teal-mug>", initializer_token="mug", kind="object")
    assert resolve_path(cfg.data.folder) == IMAGES / "teal_mug"
    data = build(cfg.data, concept=build(cfg.concept))
    assert len(data.images) == COUNT
    assert all("<teal-mug>" in caption for caption in data.captions)


def test_the_masks_match_the_images(compose):
    cfg = compose("+experiment=toybench", "data.masks=pkg://tinv/toybox/toybench/masks/${concept.name}")
    data = build(cfg.data, concept=build(cfg.concept))
    opened = [crop for path in data.images for crop in data.load_crops(path, 64)]
    assert all(crop.mask is not None and 0 < crop.mask.mean() < 0.7 for crop in opened)


def test_an_unknown_name_is_refused(compose):
    with pytest.raises(ValueError, match=r"concept.name=.cat.: must be lime_cat or teal_dog"):
        compose("+experiment=toybench", "concept.name=cat")


def test_the_initializer_token_can_be_changed():
    assert make_concept("lime_cat", initializer_token="toy").initializer_token == "toy"
