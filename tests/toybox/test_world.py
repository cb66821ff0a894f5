"""An image is a function of its seed, and its captions are true."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from transformers import CLIPTokenizer

from tinv.toybox import PIPELINE
from tinv.toybox.captions import EXTRA_WORDS, NOUNS, SCENE_PHRASES, hue_name
from tinv.toybox.palette import NAMED_COLORS
from tinv.toybox.toys import KINDS
from tinv.toybox.views import random_view, render
from tinv.toybox.world import describe, recaption, render_image

SEEDS = range(5000, 5400)


def test_an_image_is_a_function_of_its_seed_in_every_process():
    """Two processes return the same pixels and caption; another seed gives another image."""
    code = (
        "import hashlib; from tinv.toybox.world import render_image\n"
        "image, caption = render_image(7); print(hashlib.sha256(image.tobytes()).hexdigest(), caption)"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    image, caption = render_image(7)
    assert there == f"{hashlib.sha256(image.tobytes()).hexdigest()} {caption}"
    assert not np.array_equal(image, render_image(8)[0])
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8


def test_importing_the_toybox_loads_no_library():
    code = "import sys, tinv.toybox; print([m for m in ('torch', 'numpy', 'PIL', 'diffusers') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert out == "[]"


def test_every_kind_can_be_drawn_in_every_style():
    for kind in KINDS:
        toy = next(d.toy for d in map(describe, SEEDS) if d.toy.kind == kind)
        for style in ("photo", "drawing", "pixel"):
            image = render(toy, random_view(np.random.default_rng(1), style=style))
            assert image.std() > 5, f"a {style} of a {kind} is blank"


@pytest.mark.parametrize("draw", [None, 1, 2])
def test_captions_are_true(draw):
    """Every color name, noun and location of a caption is true of the image."""
    for seed in SEEDS:
        description = describe(seed)
        toy, view = description.toy, description.view
        caption = description.caption if draw is None else recaption(seed, draw)
        words = caption.split()
        colors = {color.name for color in (toy.color, toy.accent, toy.scarf, toy.belly) if color}
        colors |= set() if view.scene else {view.backdrop.name}
        if view.style == "drawing":
            colors |= {hue_name(view.ink), hue_name(view.paper)}
        for color in NAMED_COLORS:
            assert color not in words or color in colors, caption
        for kind, nouns in NOUNS.items():
            heads = {noun.replace("toy", "").split()[0] for noun in nouns}
            assert kind == toy.kind or not heads & set(words), caption
        for scene, phrases in SCENE_PHRASES.items():
            assert scene == view.scene or not any(caption.endswith(phrase) for phrase in phrases), caption


def test_captions_mention_only_patterns_and_parts_of_the_toy():
    for seed in SEEDS:
        description = describe(seed)
        toy, words = description.toy, description.caption.split()
        assert toy.pattern == "stripes" or not {"stripes", "striped"} & set(words)
        assert toy.pattern == "dots" or not {"dots", "dotted"} & set(words)
        assert toy.scarf is not None or not {"scarf", "antenna"} & set(words)
        assert toy.belly is not None or not {"belly", "screen"} & set(words)


def test_every_word_of_captions_and_prompts_is_one_token():
    tokenizer = CLIPTokenizer.from_pretrained(PIPELINE / "tokenizer")
    words = {word for seed in SEEDS for word in describe(seed).caption.split()} | set(EXTRA_WORDS)
    split = {word: tokenizer.tokenize(word) for word in words if len(tokenizer.tokenize(word)) != 1}
    assert split == {"close-up": ["close</w>", "-</w>", "up</w>"]}
