"""Words are measured when they should be, can be followed by those numbers, and the training notices nothing of it."""

import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image

from tests.training.callbacks.fitting import fit, rows
from tests.training.callbacks.test_samples import table
from tinv.errors import UserError
from tinv.evaluation.metrics.clip import Clip
from tinv.evaluation.metrics.prompts import few_prompts_for
from tinv.evaluation.metrics.scores import geometric_mean, image_similarity
from tinv.models import LatentDiffusion
from tinv.models.sampling import sample_pixels, to_images
from tinv.training.callbacks import Checkpoints, Evaluation, KeepBest
from tinv.training.callbacks.evaluation import _means
from tinv.training.loggers.csv_logger import CSVLogger

PROMPTS = ["a photo of a {}", "a red {}"]
NAMES = {"eval/clip_i", "eval/clip_t", "eval/score"}


def evaluation(every_n_steps: int | None = 4) -> Evaluation:
    return Evaluation(
        every_n_steps, PROMPTS, seeds=[0, 1], num_inference_steps=1, guidance_scale=2.0, feature_extractors="toybox"
    )


def test_it_measures_the_first_step_every_nth_and_the_last(tmp_path: Path, model: LatentDiffusion) -> None:
    module = fit(tmp_path, model, [evaluation()], loggers=[CSVLogger(tmp_path)])
    found = {step: row for step, row in table(tmp_path).items() if row.get("eval/clip_i")}
    assert sorted(found) == [0, 4, 6]
    assert set(module.trainer.callback_metrics) >= NAMES
    last = {name: float(found[6][name]) for name in NAMES}
    assert {name: float(module.trainer.callback_metrics[name]) for name in NAMES} == pytest.approx(last, abs=1e-5)
    assert last["eval/score"] == pytest.approx(geometric_mean(last["eval/clip_i"], last["eval/clip_t"]), abs=1e-5)


def test_its_numbers_are_those_of_the_samples_of_that_step(tmp_path: Path, model: LatentDiffusion) -> None:
    module = fit(tmp_path, model, [evaluation()], max_steps=4)
    words = [prompt.replace("{}", "<cat-toy>") for prompt in PROMPTS for _ in range(2)]
    pixels = sample_pixels(
        module.model, words, module.export_vectors(), seeds=[0, 1] * 2, num_inference_steps=1, guidance_scale=2.0
    )
    clip = Clip.load("pkg://tinv/toybox/clip")
    own = clip.images([Image.open(path) for path in sorted((tmp_path / "images").glob("*.png"))])
    expected = image_similarity(clip.images(to_images(pixels)), own)
    assert float(module.trainer.callback_metrics["eval/clip_i"]) == pytest.approx(expected, abs=1e-5)


def test_the_training_is_the_same_with_it(tmp_path: Path, model: LatentDiffusion) -> None:
    without = rows(fit(tmp_path / "a", model, []))
    assert torch.equal(rows(fit(tmp_path / "b", model, [evaluation(2)])), without)


def test_switched_off_it_loads_nothing(tmp_path: Path, model: LatentDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clip, "load", lambda *_: pytest.fail("loaded"))
    module = fit(tmp_path, model, [Evaluation()])
    assert not NAMES & set(module.trainer.callback_metrics)


def test_the_best_step_by_its_numbers_can_be_kept(tmp_path: Path, model: LatentDiffusion) -> None:
    keep = KeepBest("eval/score")
    fit(tmp_path, model, [evaluation(1), keep], loggers=[CSVLogger(tmp_path)])
    scores = {step: float(row["eval/score"]) for step, row in table(tmp_path).items() if row.get("eval/score")}
    assert len(scores) == 7
    assert json.dumps(keep.run_card_entry).count(str(max(scores, key=lambda step: scores[step])))


def test_a_complete_run_that_goes_on_still_knows_its_numbers(tmp_path: Path, model: LatentDiffusion) -> None:
    first = fit(tmp_path, model, [evaluation(), Checkpoints(tmp_path, every_n_steps=6)])
    before = {name: float(first.trainer.callback_metrics[name]) for name in NAMES}
    checkpoint = max((tmp_path / "checkpoints").glob("*.ckpt"))
    again = fit(tmp_path, model, [evaluation()], resume=checkpoint)
    assert {name: float(again.trainer.callback_metrics[name]) for name in NAMES} == pytest.approx(before)


def test_a_run_that_is_stopped_is_measured_at_its_end(tmp_path: Path, model: LatentDiffusion) -> None:
    class Stop(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
            trainer.should_stop = trainer.global_step == 3

    fit(tmp_path, model, [evaluation(), Stop()], loggers=[CSVLogger(tmp_path)])
    assert [step for step, row in table(tmp_path).items() if row.get("eval/clip_i")] == [0, 3]


def test_the_numbers_of_several_concepts_have_a_mean() -> None:
    found = _means(
        {"eval/clip_i/a": 0.2, "eval/clip_i/b": 0.6, "eval/clip_t/a": 0.1, "eval/clip_t/b": 0.1}, ["/a", "/b"]
    )
    assert found == pytest.approx({"eval/clip_i": 0.4, "eval/clip_t": 0.1})


def test_prompts_are_few_and_of_the_kind() -> None:
    assert len(few_prompts_for("object")) == len(few_prompts_for("style")) == 4
    assert all("style of {}" in prompt for prompt in few_prompts_for("style"))


def test_settings_that_make_no_sense_are_refused(tmp_path: Path, model: LatentDiffusion) -> None:
    with pytest.raises(UserError, match="every_n_steps must be 1 or more"):
        Evaluation(0)
    with pytest.raises(UserError, match="seeds needs a seed"):
        Evaluation(4, seeds=[])
    with pytest.raises(UserError, match="must contain"):
        Evaluation(4, ["a cat"])


def test_it_is_in_the_settings_and_off(compose) -> None:
    cfg = compose("+experiment=cat_toy")
    assert cfg.callbacks.evaluation.every_n_steps is None
    names = list(cfg.callbacks)
    assert names.index("evaluation") < names.index("checkpoints")
