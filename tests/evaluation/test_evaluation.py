"""`tinv evaluate` draws samples, measures them, and does nothing twice."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.test_cli import make_run
from tests.tiny import tiny_images
from tinv import formats
from tinv.cli import main
from tinv.concept import slug
from tinv.errors import UserError
from tinv.evaluation import EvaluationConfig, evaluate, find_targets, results
from tinv.evaluation.metrics.clip import Clip
from tinv.evaluation.metrics.measure import NAMES
from tinv.evaluation.metrics.scores import image_similarity, text_alignment
from tinv.evaluation.samples import fingerprint_embedding
from tinv.evaluation.table import write_summary
from tinv.inference import generate
from tinv.models import LatentDiffusion
from tinv.runs.files import resolve_path

PROMPTS = ("a photo of a {}", "a red {}")
FAST = {"prompts": PROMPTS, "seeds": (0, 1), "num_inference_steps": 2, "guidance_scale": 2.0, "device": "cpu"}
FAST |= {"feature_extractors": "toybox"}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tiny_images(tmp_path / "images")


@pytest.fixture
def run(tmp_path: Path, model: LatentDiffusion) -> Path:
    return make_run(tmp_path / "run", model)


def evaluate_path(path: Path, images: Path | None, **settings: Any) -> list[dict[str, Any]]:
    (targets,) = find_targets([path]).values()
    return evaluate(targets, EvaluationConfig(**{"class_noun": "toy", "images": images, **FAST, **settings}))


def mtimes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}


def test_the_scores_are_those_of_the_stored_samples(run: Path, images: Path) -> None:
    (result,) = evaluate_path(run, images)
    assert json.loads((run / "evaluation.json").read_text()) == result
    clip = Clip.load(resolve_path("pkg://tinv/toybox/clip"))
    names = [f"{name}_{seed}.png" for name in ("a-photo-of-a-cat-toy", "a-red-cat-toy") for seed in (0, 1)]
    assert set(mtimes(run / "evaluation")) == set(names)
    samples = clip.encode_images([Image.open(run / "evaluation" / name) for name in names])
    references = clip.encode_images([Image.open(path) for path in sorted(images.iterdir())])
    captions = clip.encode_texts(["a photo of a toy"] * 2 + ["a red toy"] * 2)
    assert result["scores"]["clip_i"] == pytest.approx(image_similarity(samples, references), abs=1e-5)
    assert result["scores"]["clip_t"] == pytest.approx(text_alignment(samples, captions), abs=1e-5)
    assert [row["caption_bare"] for row in result["prompts"]] == ["a photo of a", "a red"]
    assert result["scores"]["dino"] is None
    assert "no DINO" in result["feature_extractors"]["note"]
    assert set(result["scores"]) == set(NAMES)


def test_the_result_has_the_settings_and_versions(run: Path, model: LatentDiffusion, images: Path) -> None:
    (result,) = evaluate_path(run, images)
    assert result["seeds"] == [0, 1]
    assert result["sampling"] == {"num_inference_steps": 2, "guidance_scale": 2.0, "negative_prompt": ""}
    assert result["sampler"] == "DPM-Solver++ (2M)"
    assert result["model"]["pretrained"] == model.name
    assert result["feature_extractors"]["clip"] == {"name": "pkg://tinv/toybox/clip"}
    assert result["versions"]["transformers"]
    assert (result["class_noun"], result["images"]) == ("toy", ["0.png", "1.png", "2.png"])


def test_the_samples_equal_the_images_of_tinv_generate(tmp_path: Path, run: Path, images: Path) -> None:
    evaluate_path(run, images)
    options = ["--seeds", "1", "--num-inference-steps", "2", "--guidance-scale", "2", "--device", "cpu"]
    assert main(["generate", "--embedding", str(run), "a red {}", "--out", str(tmp_path / "one.png"), *options]) == 0
    sample, image = Image.open(run / "evaluation" / "a-red-cat-toy_1.png"), Image.open(tmp_path / "one.png")
    assert np.array_equal(np.asarray(sample), np.asarray(image))


def test_a_finished_evaluation_is_not_repeated(run: Path, images: Path) -> None:
    first = evaluate_path(run, images)
    before, written = mtimes(run / "evaluation"), (run / "evaluation.json").stat().st_mtime_ns
    assert evaluate_path(run, images) == first
    assert mtimes(run / "evaluation") == before
    assert (run / "evaluation.json").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("change", "num_drawn"),
    [
        ({"class_noun": "dog"}, 0),
        ({"seeds": (0, 1, 2)}, 2),
        ({"prompts": (*PROMPTS, "a {} on the beach")}, 2),
        ({"num_inference_steps": 3}, 4),
        ({"sampler": "ddim"}, 4),
    ],
)
def test_another_setting_measures_again_and_draws_only_the_samples_it_changes(
    run: Path, images: Path, change: dict[str, Any], num_drawn: int
) -> None:
    (first,) = evaluate_path(run, images)
    before = mtimes(run / "evaluation")
    (second,) = evaluate_path(run, images, **change)
    assert second["fingerprint"] != first["fingerprint"]
    assert sum(before.get(name) != mtime for name, mtime in mtimes(run / "evaluation").items()) == num_drawn


def test_another_embedding_or_other_training_images_measure_again(
    tmp_path: Path, run: Path, model: LatentDiffusion, images: Path
) -> None:
    fingerprints = [evaluate_path(run, images)[0]["fingerprint"]]
    make_run(run, model, seed=1)
    fingerprints.append(evaluate_path(run, images)[0]["fingerprint"])
    (images / "2.png").unlink()
    fingerprints.append(evaluate_path(run, images)[0]["fingerprint"])
    assert len(set(fingerprints)) == 3
    first, same, other = (
        fingerprint_embedding(formats.read(make_run(tmp_path / name, model, seed=seed)))
        for name, seed in zip("abc", (0, 0, 1))
    )
    assert first == same != other


def test_a_missing_sample_is_drawn_again_with_the_same_scores(run: Path, images: Path) -> None:
    """As after a process was killed between two samples."""
    scores = evaluate_path(run, images)[0]["scores"]
    before = mtimes(run / "evaluation")
    (run / "evaluation" / "a-red-cat-toy_1.png").unlink()
    (run / "evaluation.json").unlink()
    assert evaluate_path(run, images)[0]["scores"] == scores
    after = mtimes(run / "evaluation")
    assert [name for name in before if before[name] != after[name]] == ["a-red-cat-toy_1.png"]


def test_without_training_images_there_is_only_text_alignment(tmp_path: Path, run: Path) -> None:
    file = shutil.copy(run / "learned_embeds.safetensors", tmp_path / "toy.safetensors")
    (result,) = evaluate_path(Path(file), None)
    assert result["scores"]["clip_i"] is result["scores"]["score"] is None
    assert result["scores"]["clip_t"] is not None
    assert (tmp_path / "toy.safetensors.evaluation" / "evaluation.json").is_file()


@pytest.fixture
def sweep(tmp_path: Path, model: LatentDiffusion) -> Path:
    """The folder of a sweep over two learning rates with two seeds each."""
    folder = tmp_path / "sweep"
    swept = [{"optimizer.lr": lr, "seed": seed} for lr in ("0.1", "0.2") for seed in ("0", "1")]
    for point in range(4):
        make_run(folder / str(point), model, seed=point)
    points = [{"point": point, "swept": values, "status": "done"} for point, values in enumerate(swept)]
    (folder / "plan.json").write_text(json.dumps({"id": "abc"}))
    (folder / "sweep.json").write_text(json.dumps({"points": points}))
    return folder


def test_a_sweep_is_evaluated_with_one_model_and_one_set_of_extractors(
    sweep: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    for owner, name in ((generate, "load"), (Clip, "load")):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, _real=real, **k: loads.append(_real.__module__) or _real(*a, **k))
    assert len(evaluate_path(sweep, images)) == 4
    assert loads == ["tinv.models.loading", "tinv.evaluation.metrics.clip"]


def test_a_sweep_has_a_mean_over_seeds_for_each_setting(
    sweep: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--prompt={prompt}" for prompt in PROMPTS]
    options += ["--seeds=0,1", "--num-inference-steps=2", "--guidance-scale=2", "--device=cpu"]
    options += ["--feature-extractors=toybox", "--class-noun=toy", f"--images={images}"]
    assert main(["evaluate", str(sweep), *options]) == 0
    summary = json.loads((sweep / "evaluation.json").read_text())
    own = [json.loads((sweep / str(i) / "evaluation.json").read_text())["scores"]["clip_t"] for i in range(4)]
    assert [group["settings"] for group in summary["groups"]] == [{"optimizer.lr": "0.1"}, {"optimizer.lr": "0.2"}]
    for group, values in zip(summary["groups"], (own[:2], own[2:]), strict=True):
        assert group["scores"]["clip_t"] == pytest.approx(np.mean(values), abs=1e-5)
        assert group["std"]["clip_t"] == pytest.approx(np.std(values, ddof=1), abs=1e-5)
        assert group["count"]["clip_t"] == 2
    assert summary["scores"]["clip_t"] == pytest.approx(np.mean(own), abs=1e-5)
    output = capsys.readouterr().out
    for text in ("mean of optimizer.lr=0.1", "lr=0.2 seed=1", "no DINO"):
        assert text in output


def test_a_run_of_two_concepts_has_an_evaluation_in_the_folder_of_each(
    tmp_path: Path, model: LatentDiffusion, images: Path
) -> None:
    run = tmp_path / "concepts_run"
    for token in ("<cat-toy>", "<robot>"):
        make_run(run / "concepts" / slug(token), model, token=token)
    (targets,) = find_targets([run]).values()
    assert [target.token for target in targets] == ["<cat-toy>", "<robot>"]
    evaluations = evaluate(targets, EvaluationConfig(class_noun="toy", images=images, **FAST))
    assert (run / "concepts" / "robot" / "evaluation.json").is_file()
    write_summary(run, targets, evaluations)
    assert json.loads((run / "evaluation.json").read_text())["count"]["clip_i"] == 2


def test_scores_are_averaged_with_equal_weights() -> None:
    averages = results.average([{"clip_i": 0.2}, {"clip_i": 0.6}, {"clip_i": None}])
    assert averages["scores"]["clip_i"] == pytest.approx(0.4)
    assert averages["std"]["clip_i"] == pytest.approx(np.std([0.2, 0.6], ddof=1))
    assert averages["count"]["clip_i"] == 2
    assert averages["scores"]["dino"] is averages["std"]["dino"] is None


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"prompts": ["a cat"]}, "must have one {} for the token"),
        ({"prompts": ["a {} and a {}"]}, "must have one {} for the token"),
        ({"prompts": []}, "needs a prompt"),
        ({"seeds": []}, "needs a seed"),
        ({"batch_size": 0}, "--batch-size=0: must be 1 or more"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        EvaluationConfig(**settings)


def test_missing_information_is_asked_for(tmp_path: Path, run: Path, images: Path) -> None:
    with pytest.raises(UserError, match="does not name the class of <cat-toy>"):
        evaluate_path(run, images, class_noun=None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no learned_embeds\.safetensors"):
        find_targets([tmp_path / "empty"])
    with pytest.raises(UserError, match="have the same file name"):
        evaluate_path(run, images, prompts=["a {} red", "a {}, red"])


def test_the_kind_chooses_the_prompts(tmp_path: Path, model: LatentDiffusion) -> None:
    vectors_KD = torch.zeros(1, model.tables["clip_l"].shape[1])
    provenance = {"base_model": model.name, "kind": "style", "initializer_token": "drawing"}
    embedding = formats.LearnedEmbedding("<ink>", {"clip_l": vectors_KD}, provenance)
    (file,) = formats.write(tmp_path / "learned_embeds.safetensors", embedding)
    (result,) = evaluate_path(file, None, class_noun=None, prompts=None, seeds=(0,), num_inference_steps=1)
    assert all(row["prompt"].endswith("in the style of {}") for row in result["prompts"])
    assert result["prompts"][0]["caption"] == "a cat in the style of drawing"
