"""Evaluation logs its metrics at the right steps, and does not affect the training."""

import json

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image

from tests.training.callbacks.fitting import fit, vectors
from tests.training.callbacks.test_samples import table
from tinv.evaluation.metrics.clip import Clip
from tinv.evaluation.metrics.prompts import few_prompts_for
from tinv.evaluation.metrics.scores import geometric_mean, image_similarity
from tinv.models.sampling import sample_pixels, to_images
from tinv.training.callbacks import Checkpoints, Evaluation, KeepBest
from tinv.training.callbacks.evaluation import _means
from tinv.training.loggers.csv_logger import CSVLogger

PROMPTS = ["a photo of a {}", "a red {}"]
NAMES = {"eval/clip_i", "eval/clip_t", "eval/score"}


def evaluation(every_n_steps: int | None = 4) -> Evaluation:
    options = {"num_inference_steps": 1, "guidance_scale": 2.0, "feature_extractors": "toybox"}
    return Evaluation(every_n_steps, PROMPTS, seeds=[0, 1], **options)


def test_evaluates_the_first_step_every_nth_and_the_last(tmp_path, model):
    module = fit(tmp_path, model, [evaluation()], loggers=[CSVLogger(tmp_path)])
    rows = {step: row for step, row in table(tmp_path).items() if row.get("eval/clip_i")}
    assert sorted(rows) == [0, 4, 6] and set(module.trainer.callback_metrics) >= NAMES
    last = {name: float(rows[6][name]) for name in NAMES}
    assert {name: float(module.trainer.callback_metrics[name]) for name in NAMES} == pytest.approx(last, abs=1e-5)
    assert last["eval/score"] == pytest.approx(geometric_mean(last["eval/clip_i"], last["eval/clip_t"]), abs=1e-5)


def test_metrics_are_those_of_the_samples_of_the_step(tmp_path, model):
    module = fit(tmp_path, model, [evaluation()], max_steps=4)
    prompts = [prompt.replace("{}", "<cat-toy>") for prompt in PROMPTS for _ in range(2)]
    options = {"num_inference_steps": 1, "guidance_scale": 2.0}
    pixels = sample_pixels(module.model, prompts, module.export_vectors(), seeds=[0, 1] * 2, **options)
    clip = Clip.load("pkg://tinv/toybox/clip")
    images = clip.encode_images([Image.open(path) for path in sorted((tmp_path / "images").glob("*.png"))])
    expected = image_similarity(clip.encode_images(to_images(pixels)), images)
    assert float(module.trainer.callback_metrics["eval/clip_i"]) == pytest.approx(expected, abs=1e-5)


def test_evaluation_does_not_affect_the_training(tmp_path, model):
    plain = vectors(fit(tmp_path / "a", model, []))
    assert torch.equal(vectors(fit(tmp_path / "b", model, [evaluation(2)])), plain)


def test_turned_off_it_loads_nothing(tmp_path, model, monkeypatch):
    monkeypatch.setattr(Clip, "load", lambda *_: pytest.fail("loaded"))
    module = fit(tmp_path, model, [Evaluation()])
    assert not NAMES & set(module.trainer.callback_metrics)


def test_keep_best_can_monitor_it(tmp_path, model):
    keep = KeepBest("eval/score")
    fit(tmp_path, model, [evaluation(1), keep], loggers=[CSVLogger(tmp_path)])
    scores = {step: float(row["eval/score"]) for step, row in table(tmp_path).items() if row.get("eval/score")}
    assert len(scores) == 7
    assert json.dumps(keep.run_card_entry).count(str(max(scores, key=lambda step: scores[step])))


def test_a_complete_run_that_resumes_has_its_metrics(tmp_path, model):
    first = fit(tmp_path, model, [evaluation(), Checkpoints(tmp_path, every_n_steps=6)])
    before = {name: float(first.trainer.callback_metrics[name]) for name in NAMES}
    checkpoint = max((tmp_path / "checkpoints").glob("*.ckpt"))
    again = fit(tmp_path, model, [evaluation()], resume=checkpoint)
    assert {name: float(again.trainer.callback_metrics[name]) for name in NAMES} == pytest.approx(before)


def test_a_run_that_is_stopped_early_is_evaluated_at_its_end(tmp_path, model):
    class Stop(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
            trainer.should_stop = trainer.global_step == 3

    fit(tmp_path, model, [evaluation(), Stop()], loggers=[CSVLogger(tmp_path)])
    assert [step for step, row in table(tmp_path).items() if row.get("eval/clip_i")] == [0, 3]


def test_metrics_of_several_concepts_have_a_mean():
    metrics = {"eval/clip_i/a": 0.2, "eval/clip_i/b": 0.6, "eval/clip_t/a": 0.1, "eval/clip_t/b": 0.1}
    assert _means(metrics, ["/a", "/b"]) == pytest.approx({"eval/clip_i": 0.4, "eval/clip_t": 0.1})


def test_default_prompts_fit_the_kind():
    assert len(few_prompts_for("object")) == len(few_prompts_for("style")) == 4
    assert all("style of {}" in prompt for prompt in few_prompts_for("style"))


def test_it_is_configured_and_off(compose):
    callbacks = compose("+experiment=cat_toy").callbacks
    assert callbacks.evaluation.every_n_steps is None
    assert list(callbacks).index("evaluation") < list(callbacks).index("checkpoints")
