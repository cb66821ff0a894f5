"""`tinv evaluate`: what is drawn, kept, measured and not measured again."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.test_cli import learn
from tests.tiny import tiny_images
from tinv import formats
from tinv.cli import main
from tinv.concept import slug
from tinv.errors import UserError
from tinv.evaluation import Settings, evaluate, find_subjects, results, table
from tinv.evaluation.metrics.clip import Clip
from tinv.evaluation.metrics.measure import NAMES
from tinv.evaluation.metrics.scores import image_similarity, text_alignment
from tinv.evaluation.samples import fingerprint_of
from tinv.inference import generate
from tinv.models import LatentDiffusion
from tinv.runs.files import resolve_path

PROMPTS = ("a photo of a {}", "a red {}")
FAST = {
    "prompts": PROMPTS,
    "seeds": (0, 1),
    "num_inference_steps": 2,
    "guidance_scale": 2.0,
    "device": "cpu",
    "feature_extractors": "toybox",
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tiny_images(tmp_path / "images")


def measured(place: Path, images: Path | None, **settings: Any) -> list[dict[str, Any]]:
    (subjects,) = find_subjects([place]).values()
    return evaluate(subjects, Settings(**{"class_noun": "toy", "images": images, **FAST, **settings}))


def files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}


def test_the_numbers_are_those_of_the_pictures_beside_them(
    tmp_path: Path, model: LatentDiffusion, images: Path
) -> None:
    """Measured again from the files, by hand."""
    run = learn(tmp_path / "run", model)
    (result,) = measured(run, images)
    assert json.loads((run / "evaluation.json").read_text()) == result
    clip = Clip.load(resolve_path("pkg://tinv/toybox/clip"))
    names = [f"{name}_{seed}.png" for name in ("a-photo-of-a-cat-toy", "a-red-cat-toy") for seed in (0, 1)]
    assert set(files(run / "evaluation")) == set(names)
    samples = clip.images([Image.open(run / "evaluation" / name) for name in names])
    own = clip.images([Image.open(path) for path in sorted(images.iterdir())])
    captions = clip.texts(["a photo of a toy"] * 2 + ["a red toy"] * 2)
    assert result["scores"]["clip_i"] == pytest.approx(image_similarity(samples, own), abs=1e-5)
    assert result["scores"]["clip_t"] == pytest.approx(text_alignment(samples, captions), abs=1e-5)
    assert [row["caption_bare"] for row in result["prompts"]] == ["a photo of a", "a red"]
    assert result["scores"]["dino"] is None
    assert "no DINO" in result["feature_extractors"]["note"]
    assert set(result["scores"]) == set(NAMES)


def test_it_says_what_it_was_computed_with(tmp_path: Path, model: LatentDiffusion, images: Path) -> None:
    (result,) = measured(learn(tmp_path / "run", model), images)
    assert result["seeds"] == [0, 1]
    assert result["drawn"]["sampling"] == {"num_inference_steps": 2, "guidance_scale": 2.0, "negative_prompt": ""}
    assert result["drawn"]["sampler"] == "DPM-Solver++ (2M)"
    assert result["drawn"]["model"]["pretrained"] == model.name
    assert result["feature_extractors"]["clip"] == {"name": "pkg://tinv/toybox/clip"}
    assert result["versions"]["transformers"]
    assert (result["class_noun"], result["images"]) == ("toy", ["0.png", "1.png", "2.png"])


def test_samples_are_the_pictures_that_generate_draws(tmp_path: Path, model: LatentDiffusion, images: Path) -> None:
    run = learn(tmp_path / "run", model)
    measured(run, images)
    options = ["--seeds", "1", "--num-inference-steps", "2", "--guidance-scale", "2", "--device", "cpu"]
    assert main(["generate", "--embedding", str(run), "a red {}", "--out", str(tmp_path / "one.png"), *options]) == 0
    drawn = np.asarray(Image.open(tmp_path / "one.png"))
    assert np.array_equal(np.asarray(Image.open(run / "evaluation" / "a-red-cat-toy_1.png")), drawn)


def test_what_is_there_is_not_done_again(tmp_path: Path, model: LatentDiffusion, images: Path) -> None:
    run = learn(tmp_path / "run", model)
    first = measured(run, images)
    before, written = files(run / "evaluation"), (run / "evaluation.json").stat().st_mtime_ns
    assert measured(run, images) == first
    assert files(run / "evaluation") == before
    assert (run / "evaluation.json").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("change", "draws"),
    [
        ({"class_noun": "dog"}, 0),
        ({"seeds": (0, 1, 2)}, 2),
        ({"prompts": (*PROMPTS, "a {} on the beach")}, 2),
        ({"num_inference_steps": 3}, 4),
        ({"sampler": "ddim"}, 4),
    ],
)
def test_another_setting_measures_again_and_draws_only_what_it_changes(
    tmp_path: Path, model: LatentDiffusion, images: Path, change: dict[str, Any], draws: int
) -> None:
    run = learn(tmp_path / "run", model)
    (first,) = measured(run, images)
    before = files(run / "evaluation")
    (second,) = measured(run, images, **change)
    after = files(run / "evaluation")
    assert second["fingerprint"] != first["fingerprint"]
    assert sum(before.get(name) != stamp for name, stamp in after.items()) == draws


def test_another_embedding_or_other_pictures_measure_again(
    tmp_path: Path, model: LatentDiffusion, images: Path
) -> None:
    run = learn(tmp_path / "run", model)
    marks = [measured(run, images)[0]["fingerprint"]]
    learn(run, model, seed=1)
    marks.append(measured(run, images)[0]["fingerprint"])
    (images / "2.png").unlink()
    marks.append(measured(run, images)[0]["fingerprint"])
    assert len(set(marks)) == 3
    words = [formats.read(learn(tmp_path / name, model, seed=seed)) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    marks = [fingerprint_of(word) for word in words]
    assert marks[0] == marks[1] != marks[2]


def test_a_lost_sample_is_drawn_again_and_gives_the_same_numbers(
    tmp_path: Path, model: LatentDiffusion, images: Path
) -> None:
    """As after a kill between two pictures."""
    run = learn(tmp_path / "run", model)
    first = measured(run, images)[0]["scores"]
    kept = files(run / "evaluation")
    (run / "evaluation" / "a-red-cat-toy_1.png").unlink()
    (run / "evaluation.json").unlink()
    assert measured(run, images)[0]["scores"] == first
    after = files(run / "evaluation")
    assert [name for name in kept if kept[name] != after[name]] == ["a-red-cat-toy_1.png"]


def test_without_training_pictures_there_is_no_fidelity_but_obedience(tmp_path: Path, model: LatentDiffusion) -> None:
    run = learn(tmp_path / "run", model)
    file = shutil.copy(run / "learned_embeds.safetensors", tmp_path / "toy.safetensors")
    (result,) = measured(Path(file), None)
    assert result["scores"]["clip_i"] is result["scores"]["score"] is None
    assert result["scores"]["clip_t"] is not None
    assert (tmp_path / "toy.safetensors.evaluation" / "evaluation.json").is_file()


def sweep(folder: Path, model: LatentDiffusion) -> Path:
    """Two rates, two seeds each, as a sweep leaves them."""
    swept = [{"optimizer.lr": lr, "seed": seed} for lr in ("0.1", "0.2") for seed in ("0", "1")]
    for point in range(4):
        learn(folder / str(point), model, seed=point)
    points = [{"point": point, "swept": values, "status": "done"} for point, values in enumerate(swept)]
    (folder / "plan.json").write_text(json.dumps({"id": "abc"}))
    (folder / "sweep.json").write_text(json.dumps({"points": points}))
    return folder


def test_a_sweep_is_measured_with_one_model_and_one_pair_of_towers(
    tmp_path: Path, model: LatentDiffusion, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    for owner, name in ((generate, "load"), (Clip, "load")):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, _real=real, **k: loads.append(_real.__module__) or _real(*a, **k))
    found = measured(sweep(tmp_path / "sweep", model), images)
    assert len(found) == 4
    assert loads == ["tinv.models.loading", "tinv.evaluation.metrics.clip"]


def test_a_sweep_gets_a_mean_for_each_setting_over_its_seeds(
    tmp_path: Path, model: LatentDiffusion, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = sweep(tmp_path / "sweep", model)
    options = [
        *(f"--prompt={prompt}" for prompt in PROMPTS),
        "--seeds=0,1",
        "--num-inference-steps=2",
        "--guidance-scale=2",
    ]
    options += ["--feature-extractors=toybox", "--class-noun=toy", f"--images={images}", "--device=cpu"]
    assert main(["evaluate", str(place), *options]) == 0
    whole = json.loads((place / "evaluation.json").read_text())
    own = [json.loads((place / str(i) / "evaluation.json").read_text())["scores"]["clip_t"] for i in range(4)]
    assert [group["settings"] for group in whole["groups"]] == [{"optimizer.lr": "0.1"}, {"optimizer.lr": "0.2"}]
    for group, values in zip(whole["groups"], (own[:2], own[2:]), strict=True):
        assert group["scores"]["clip_t"] == pytest.approx(np.mean(values), abs=1e-5)
        assert group["spread"]["clip_t"] == pytest.approx(np.std(values, ddof=1), abs=1e-5)
        assert group["count"]["clip_t"] == 2
    assert whole["scores"]["clip_t"] == pytest.approx(np.mean(own), abs=1e-5)
    said = capsys.readouterr().out
    assert "mean of optimizer.lr=0.1" in said
    assert "lr=0.2 seed=1" in said
    assert "no DINO" in said


def test_a_run_of_two_concepts_has_an_evaluation_in_each_ones_folder(
    tmp_path: Path, model: LatentDiffusion, images: Path
) -> None:
    run = tmp_path / "run"
    for word in ("<cat-toy>", "<robot>"):
        learn(run / "concepts" / slug(word), model, word=word)
    (subjects,) = find_subjects([run]).values()
    assert [subject.learned.placeholder_token for subject in subjects] == ["<cat-toy>", "<robot>"]
    found = evaluate(subjects, Settings(class_noun="toy", images=images, **FAST))
    assert (run / "concepts" / "robot" / "evaluation.json").is_file()
    path = table.summary(run, subjects, found)
    assert path == run / "evaluation.json"
    assert json.loads(path.read_text())["count"]["clip_i"] == 2


def test_every_subject_counts_once_in_the_macro_average() -> None:
    found = results.macro([{"clip_i": 0.2}, {"clip_i": 0.6}, {"clip_i": None}])
    assert found["scores"]["clip_i"] == pytest.approx(0.4)
    assert found["spread"]["clip_i"] == pytest.approx(np.std([0.2, 0.6], ddof=1))
    assert found["count"]["clip_i"] == 2
    assert found["scores"]["dino"] is found["spread"]["dino"] is None


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"prompts": ["a cat"]}, "must have one {} for the word"),
        ({"prompts": ["a {} and a {}"]}, "must have one {} for the word"),
        ({"prompts": []}, "needs a prompt"),
        ({"seeds": []}, "needs a seed"),
        ({"batch_size": 0}, "must be 1 or more, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        Settings(**settings)


def test_what_is_missing_is_asked_for(tmp_path: Path, model: LatentDiffusion, images: Path) -> None:
    with pytest.raises(UserError, match="does not say what <cat-toy> is one of; give its plain name"):
        measured(learn(tmp_path / "run", model), images, class_noun=None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no learned_embeds\.safetensors"):
        find_subjects([tmp_path / "empty"])
    with pytest.raises(UserError, match="would have files of one name"):
        measured(tmp_path / "run", images, prompts=["a {} red", "a {}, red"])


def test_the_kind_chooses_the_prompts(tmp_path: Path, model: LatentDiffusion) -> None:
    rows = torch.zeros(1, model.tables["clip_l"].shape[1])
    told = {"base_model": model.name, "kind": "style", "initializer_token": "drawing"}
    file = tmp_path / "learned_embeds.safetensors"
    formats.write(file, formats.LearnedEmbedding("<ink>", {"clip_l": rows}, told))
    (subjects,) = find_subjects([file]).values()
    (result,) = evaluate(subjects, Settings(**{**FAST, "prompts": None, "seeds": (0,), "num_inference_steps": 1}))
    assert all(row["prompt"].endswith("in the style of {}") for row in result["prompts"])
    assert result["prompts"][0]["caption"] == "a cat in the style of drawing"
