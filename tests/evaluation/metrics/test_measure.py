"""Real towers of tiny size, measured by us and by others' code."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.multimodal.clip_score import CLIPScore
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tests.tiny import tiny_tokenizer
from tinv.errors import UserError
from tinv.evaluation.metrics.dino import Dino
from tinv.evaluation.metrics.feature_extractors import NAMED, Choice, Towers, towers_for
from tinv.evaluation.metrics.measure import NAMES, References, measure, with_noun, without_word
from tinv.evaluation.metrics.prompts import OBJECT, STYLE, prompts_for

LAYERS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION = {**LAYERS, "image_size": 32, "patch_size": 8}
PROMPTS = ("a photo of a {}", "a {} on the beach")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny random towers, as transformers saves them."""
    root = tmp_path_factory.mktemp("towers")
    tokenizer = tiny_tokenizer()
    text = {**LAYERS, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    models = {
        "clip": lambda: CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)),
        "dino": lambda: ViTModel(ViTConfig(**VISION), add_pooling_layer=False),
        "dinov2": lambda: Dinov2Model(Dinov2Config(**{**LAYERS, "image_size": 64, "patch_size": 8})),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for name, make in models.items():
            make().save_pretrained(root / name)
    tokenizer.save_pretrained(root / "clip")
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPImageProcessorPil(**size).save_pretrained(root / "clip")
    (root / "dinov2" / "preprocessor_config.json").write_text('{"crop_size": {"height": 32, "width": 32}}')
    return {name: root / name for name in models}


@pytest.fixture(scope="module")
def feature_extractors(places: dict[str, Path]) -> Towers:
    return Choice.of("clip", clip=str(places["clip"]), dino=str(places["dino"])).load()


class AsTensors(CLIPModel):
    """transformers 5 gives outputs where torchmetrics 1.9 expects the tensors in them."""

    def get_image_features(self, *args: Any, **options: Any) -> torch.Tensor:
        return super().get_image_features(*args, **options).pooler_output

    def get_text_features(self, *args: Any, **options: Any) -> torch.Tensor:
        return super().get_text_features(*args, **options).pooler_output


def pictures(count: int, seed: int) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)) for _ in range(count)]


def test_clip_t_is_that_of_torchmetrics(feature_extractors: Towers, places: dict[str, Path]) -> None:
    """A second implementation, with transformers' own processor: its score is 100 times the mean cosine."""
    processor = CLIPProcessor(CLIPImageProcessorPil.from_pretrained(places["clip"]), tiny_tokenizer())
    theirs = CLIPScore(lambda: (AsTensors.from_pretrained(places["clip"]), processor))
    samples = {prompt: pictures(3, seed) for seed, prompt in enumerate(PROMPTS)}
    for prompt, shown in samples.items():
        tensors = [torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in shown]
        theirs.update(tensors, [with_noun(prompt, "toy")] * len(shown))
    ours = measure(feature_extractors, samples, None, class_noun="toy").scores["clip_t"]
    assert ours is not None
    assert max(ours, 0.0) * 100 == pytest.approx(float(theirs.compute()), abs=0.05)
    assert ours > 0.02


@pytest.mark.parametrize("kind", ["dino", "dinov2"])
def test_dino_is_the_class_token_of_transformers_own_model(places: dict[str, Path], kind: str) -> None:
    dino = Dino.load(places[kind])
    model = {"dino": ViTModel, "dinov2": Dinov2Model}[kind].from_pretrained(places[kind]).eval()
    assert (dino.preprocess.side, dino.preprocess.shorter) == (32, 37)
    seen = dino.images(pictures(40, 0))
    shown = dino.preprocess(pictures(1, 0)[0])[None]
    with torch.no_grad():
        token = model(shown).last_hidden_state[0, 0]
    assert torch.allclose(seen[0], token / token.norm(), atol=1e-5)
    assert torch.allclose(seen.norm(dim=1), torch.ones(40), atol=1e-5)


def test_numbers_of_all_samples_are_means_over_prompts_of_equal_size(feature_extractors: Towers) -> None:
    references = References.seen_by(feature_extractors, pictures(3, 9))
    samples = {prompt: pictures(4, seed) for seed, prompt in enumerate(PROMPTS)}
    found = measure(feature_extractors, samples, references, class_noun="toy")
    assert set(found.scores) == set(NAMES)
    for name in set(NAMES) - {"score"}:
        values = [float(row[name]) for row in found.prompts]  # type: ignore[arg-type]
        assert found.scores[name] == pytest.approx(np.mean(values), abs=1e-5), name
    assert [row["caption"] for row in found.prompts] == ["a photo of a toy", "a toy on the beach"]


def test_samples_that_are_the_references_come_to_the_reference_points(feature_extractors: Towers) -> None:
    shown = pictures(4, 9)
    references = References.seen_by(feature_extractors, shown)
    found = measure(feature_extractors, {PROMPTS[0]: shown}, references, class_noun="toy").scores
    points = references.points()
    for name in ("clip_i", "dino"):
        assert found[name] == pytest.approx((4 * 3 * float(points[name] or 0) + 4) / 16, abs=1e-5)
    assert found["nearest"] == pytest.approx(1, abs=1e-5)
    assert found["copies"] == 1.0


def test_what_cannot_be_measured_is_said_to_be_nothing(feature_extractors: Towers) -> None:
    found = measure(Towers(feature_extractors.clip), {PROMPTS[0]: pictures(1, 0)}, None, class_noun="toy").scores
    assert {name for name, value in found.items() if value is None} == set(NAMES) - {"clip_t", "clip_t_bare"}


def test_the_word_is_replaced_or_left_out() -> None:
    assert with_noun("a {} on the beach", "cat toy") == "a cat toy on the beach"
    assert without_word("a photo of a {} on the moon") == "a photo of a on the moon"


def test_the_toybox_is_looked_at_by_its_own_towers_and_has_no_dino() -> None:
    assert towers_for("pkg://tinv/toybox/pipeline") == "toybox"
    assert towers_for("stable-diffusion-v1-5/stable-diffusion-v1-5") == "clip"
    toybox = Choice.of("toybox")
    assert toybox.load().dino is None
    assert toybox.told["dino"] is None
    assert "no DINO" in toybox.told["note"]
    assert toybox.told["clip"] == {"name": "pkg://tinv/toybox/clip"}


def test_every_tower_of_the_hub_is_pinned_to_a_commit() -> None:
    for places in NAMED.values():
        for place in places:
            assert place == "none" or place.startswith("pkg://") or len(place.partition("@")[2]) == 40


def test_prompts_have_one_gap_each() -> None:
    assert all(prompt.count("{}") == 1 for prompt in (*OBJECT, *STYLE))
    assert prompts_for("style") == STYLE
    assert prompts_for("object") == OBJECT


def test_other_towers_are_refused_in_a_sentence(places: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="towers must be one of toybox, clip, dinov2, got blip"):
        Choice.of("blip")
    with pytest.raises(UserError, match=r"there is no folder \./nowhere of a tower"):
        Choice.of("toybox", clip="./nowhere")
    with pytest.raises(UserError, match="is no folder of a DINO"):
        Choice.of("toybox", dino=str(tmp_path)).load()
    text = CLIPTextModel(CLIPTextConfig(**LAYERS, vocab_size=100))
    text.save_pretrained(tmp_path / "text")
    with pytest.raises(UserError, match="holds a clip_text_model; DINO is a vit or a dinov2"):
        Choice.of("toybox", dino=str(tmp_path / "text")).load()
