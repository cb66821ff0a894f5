"""Scores of tiny feature extractors, computed by us and by other libraries."""

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
from tinv.evaluation.metrics.feature_extractors import PRESETS, FeatureExtractors, LocatedExtractors, default_preset
from tinv.evaluation.metrics.measure import NAMES, References, insert_class_noun, measure, remove_slot
from tinv.evaluation.metrics.prompts import OBJECT, STYLE, prompts_for

LAYERS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION = {**LAYERS, "image_size": 32, "patch_size": 8}
PROMPTS = ("a photo of a {}", "a {} on the beach")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny random models, as transformers saves them."""
    root = tmp_path_factory.mktemp("extractors")
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
def extractors(folders: dict[str, Path]) -> FeatureExtractors:
    return LocatedExtractors.locate("clip", clip=str(folders["clip"]), dino=str(folders["dino"])).load()


class AsTensors(CLIPModel):
    """transformers 5 gives outputs where torchmetrics 1.9 expects the tensors in them."""

    def get_image_features(self, *args: Any, **options: Any) -> torch.Tensor:
        return super().get_image_features(*args, **options).pooler_output

    def get_text_features(self, *args: Any, **options: Any) -> torch.Tensor:
        return super().get_text_features(*args, **options).pooler_output


def images(count: int, seed: int) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)) for _ in range(count)]


def test_clip_t_equals_that_of_torchmetrics(extractors: FeatureExtractors, folders: dict[str, Path]) -> None:
    """A second implementation, with transformers' own processor: its score is 100 times the mean cosine."""
    processor = CLIPProcessor(CLIPImageProcessorPil.from_pretrained(folders["clip"]), tiny_tokenizer())
    theirs = CLIPScore(lambda: (AsTensors.from_pretrained(folders["clip"]), processor))
    samples = {prompt: images(3, seed) for seed, prompt in enumerate(PROMPTS)}
    for prompt, drawn in samples.items():
        tensors = [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in drawn]
        theirs.update(tensors, [insert_class_noun(prompt, "toy")] * len(drawn))
    ours = measure(extractors, samples, None, class_noun="toy").scores["clip_t"]
    assert ours is not None
    assert max(ours, 0.0) * 100 == pytest.approx(float(theirs.compute()), abs=0.05)
    assert ours > 0.02


@pytest.mark.parametrize("kind", ["dino", "dinov2"])
def test_dino_is_the_class_token_of_transformers_own_model(folders: dict[str, Path], kind: str) -> None:
    dino = Dino.load(folders[kind])
    model = {"dino": ViTModel, "dinov2": Dinov2Model}[kind].from_pretrained(folders[kind]).eval()
    assert (dino.preprocess.side, dino.preprocess.shorter) == (32, 37)
    features = dino.encode_images(images(40, 0))
    pixels = dino.preprocess(images(1, 0)[0])[None]
    with torch.no_grad():
        token = model(pixels).last_hidden_state[0, 0]
    assert torch.allclose(features[0], token / token.norm(), atol=1e-5)
    assert torch.allclose(features.norm(dim=1), torch.ones(40), atol=1e-5)


def test_scores_of_all_samples_are_means_over_prompts(extractors: FeatureExtractors) -> None:
    references = References.encode(extractors, images(3, 9))
    samples = {prompt: images(4, seed) for seed, prompt in enumerate(PROMPTS)}
    measurement = measure(extractors, samples, references, class_noun="toy")
    assert set(measurement.scores) == set(NAMES)
    for name in set(NAMES) - {"score"}:
        values = [float(row[name]) for row in measurement.prompts]  # type: ignore[arg-type]
        assert measurement.scores[name] == pytest.approx(np.mean(values), abs=1e-5), name
    assert [row["caption"] for row in measurement.prompts] == ["a photo of a toy", "a toy on the beach"]


def test_samples_that_equal_the_references_have_the_reference_scores(extractors: FeatureExtractors) -> None:
    drawn = images(4, 9)
    references = References.encode(extractors, drawn)
    scores = measure(extractors, {PROMPTS[0]: drawn}, references, class_noun="toy").scores
    expected = references.scores()
    for name in ("clip_i", "dino"):
        assert scores[name] == pytest.approx((4 * 3 * float(expected[name] or 0) + 4) / 16, abs=1e-5)
    assert scores["nearest"] == pytest.approx(1, abs=1e-5)
    assert scores["copies"] == 1.0


def test_scores_that_cannot_be_computed_are_none(extractors: FeatureExtractors) -> None:
    scores = measure(FeatureExtractors(extractors.clip), {PROMPTS[0]: images(1, 0)}, None, class_noun="toy").scores
    assert {name for name, value in scores.items() if value is None} == set(NAMES) - {"clip_t", "clip_t_bare"}


def test_the_slot_is_filled_or_removed() -> None:
    assert insert_class_noun("a {} on the beach", "cat toy") == "a cat toy on the beach"
    assert remove_slot("a photo of a {} on the moon") == "a photo of a on the moon"


def test_the_toybox_has_its_own_clip_and_no_dino() -> None:
    assert default_preset("pkg://tinv/toybox/pipeline") == "toybox"
    assert default_preset("stable-diffusion-v1-5/stable-diffusion-v1-5") == "clip"
    toybox = LocatedExtractors.locate("toybox")
    assert toybox.load().dino is None
    assert toybox.info["dino"] is None
    assert "no DINO" in toybox.info["note"]
    assert toybox.info["clip"] == {"name": "pkg://tinv/toybox/clip"}


def test_every_extractor_of_the_hub_is_pinned_to_a_commit() -> None:
    for name in [name for pair in PRESETS.values() for name in pair]:
        assert name == "none" or name.startswith("pkg://") or len(name.partition("@")[2]) == 40


def test_prompts_have_one_slot() -> None:
    assert all(prompt.count("{}") == 1 for prompt in (*OBJECT, *STYLE))
    assert prompts_for("style") == STYLE
    assert prompts_for("object") == OBJECT


def test_other_extractors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="feature_extractors=blip: choose one of toybox, clip, dinov2"):
        LocatedExtractors.locate("blip")
    with pytest.raises(UserError, match=r"\./nowhere"):
        LocatedExtractors.locate("toybox", clip="./nowhere")
    with pytest.raises(UserError, match="is no folder of a DINO model"):
        LocatedExtractors.locate("toybox", dino=str(tmp_path)).load()
    text = CLIPTextModel(CLIPTextConfig(**LAYERS, vocab_size=100))
    text.save_pretrained(tmp_path / "text")
    with pytest.raises(UserError, match="holds a clip_text_model; DINO is a vit or a dinov2"):
        LocatedExtractors.locate("toybox", dino=str(tmp_path / "text")).load()
