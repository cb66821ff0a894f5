"""DVARStopping and EarlyStopping stop a run; KeepBest selects its result."""

import json
import math
import shutil
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from tests.training.callbacks.fitting import fit, vectors
from tinv import formats
from tinv.runs.layout import checkpoint_path
from tinv.training.callbacks import Checkpoints, DVARStopping, EarlyStopping, Export, KeepBest, RunCard
from tinv.training.callbacks.dvar_stopping import default_stride, variance_ratio
from tinv.training.callbacks.early_stopping import last_improvement
from tinv.training.callbacks.logging import log_metrics
from tinv.training.loggers.csv_logger import CSVLogger


class Measure(Callback):
    """Logs given values at given steps on the first process, like Evaluation."""

    def __init__(self, values: dict[int, float], name: str = "eval/clip_i"):
        self.values, self.name = values, name

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.is_global_zero and trainer.global_step in self.values:
            log_metrics(trainer, {self.name: self.values[trainer.global_step]})


def losses(folder: Path) -> dict[int, str]:
    return {step: row["train/loss"] for step, row in CSVLogger(folder)._rows.items() if "train/loss" in row}


def test_variance_ratio_agrees_with_numpy():
    generator = np.random.default_rng(0)
    curve = np.concatenate([np.linspace(1, 0.3, 20), 0.3 + 0.01 * generator.standard_normal(20)])
    for n in range(1, len(curve) + 1):
        expected = None if n <= 12 else np.var(curve[:n][-12:]) / np.var(curve[:n])
        assert variance_ratio(curve[:n].tolist(), 12) == (expected and pytest.approx(expected, rel=1e-12))
    assert variance_ratio([0.5] * 20, 12) is None, "a constant curve has not converged"


def test_a_falling_curve_has_not_converged():
    rule = DVARStopping(window=10, threshold=0.15)
    line = [(step, 1 - step / 1000) for step in range(0, 270, 10)]
    assert rule.convergence_reason(line[:25]) is None
    assert rule.convergence_reason(line), "a straight line is flat from 1 / sqrt(threshold) windows on, by definition"
    fallen = [(step, math.exp(-step / 50)) for step in range(0, 500, 10)]
    assert "has converged" in rule.convergence_reason(fallen)


def test_an_improvement_exceeds_min_delta_and_is_not_nan():
    assert last_improvement([1.0, 2.0, 2.1, 2.2], 0.0) == (3, 0)
    assert last_improvement([1.0, 2.0, 2.1, 2.2], 0.5) == (1, 2)
    assert last_improvement([math.nan, -5.0, math.nan, -6.0], 0.1) == (1, 2)


def test_evaluations_take_less_than_5_percent_of_the_time_for_any_batch_size():
    for batch, draws in product((1, 2, 4, 8, 16), (1, 4, 8)):
        assert 0.48 * draws / (default_stride(draws, batch) * batch) < 0.05
    assert default_stride(4, 4) == 10


def test_dvar_does_not_affect_the_training(tmp_path, model):
    plain = fit(tmp_path, model, [], loggers=[CSVLogger(tmp_path / "plain")])
    rule = DVARStopping(stride=1, window=5)
    evaluated = fit(tmp_path, model, [rule, KeepBest()], loggers=[CSVLogger(tmp_path / "evaluated")])
    steps, values = zip(*rule.curves[""])
    assert steps == (1, 2, 3, 4, 5, 6) and len(set(values)) == 6
    assert torch.equal(vectors(plain), vectors(evaluated))
    assert losses(tmp_path / "plain") == losses(tmp_path / "evaluated")


def test_an_evaluation_is_one_forward_pass_on_the_same_samples_without_gradient(tmp_path, model, monkeypatch):
    timesteps: list[tuple[int, ...]] = []
    predict = type(model).predict

    def record(self: Any, x: torch.Tensor, t: torch.Tensor, *args: Any) -> torch.Tensor:
        if not torch.is_grad_enabled() and x.shape[0] == 3:
            timesteps.append(tuple(t.tolist()))
        return predict(self, x, t, *args)

    monkeypatch.setattr(type(model), "predict", record)
    fit(tmp_path, model, [DVARStopping(stride=2, draws=3, window=5)], max_steps=6)
    assert len(timesteps) == 3 and len(set(timesteps)) == 1, "steps 2, 4 and 6"
    assert sorted(timesteps[0]) == [166, 500, 833], "timesteps are evenly spaced"


def test_a_stopped_run_ends_like_a_complete_one(tmp_path, model, capsys):
    run, scheduler = tmp_path / "run", partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda n: 0.3**n)
    callbacks = [DVARStopping(stride=1, window=4, threshold=0.4), RunCard(run), Export(run), Checkpoints(run)]
    module = fit(tmp_path, model, callbacks, max_steps=60, scheduler=scheduler)
    assert 4 < module.global_step < 60
    result = json.loads((run / "run.json").read_text())["result"]
    assert result["early_stopping"]["step"] == result["steps"] == module.global_step
    assert f"stopped at step {module.global_step} of 60: the loss of 4 fixed samples" in capsys.readouterr().out
    assert (run / "checkpoints" / f"step_{module.global_step:06d}.ckpt").is_file()
    assert formats.read(run).provenance["steps"] == str(module.global_step)
    assert "val/loss" in module.trainer.callback_metrics


def test_patience_stops_a_run_that_does_not_improve(tmp_path, model):
    values = {2: 0.5, 4: 0.6, 6: 0.61, 8: 0.55, 10: 0.9}
    rule = EarlyStopping("eval/clip_i", patience=2, min_delta=0.02)
    module = fit(tmp_path, model, [Measure(values), rule], max_steps=12)
    assert module.global_step == 8
    reason = "eval/clip_i has not improved by more than 0.02 in 2 measurements, since 0.6 at step 4"
    assert reason in str(rule.run_card_entry)


def test_a_metric_that_is_never_measured_is_reported(tmp_path, model, capsys):
    assert fit(tmp_path, model, [EarlyStopping("eval/clip_i"), KeepBest("eval/clip_i")]).global_step == 6
    output = capsys.readouterr().out
    assert all(f"{setting}.monitor=eval/clip_i: never measured" in output for setting in ("early_stopping", "keep"))


@pytest.mark.parametrize("stopped_at", [4, 5])
def test_a_stopped_run_stops_again_on_resume_and_continues_without_the_rule(tmp_path, model, stopped_at):
    run, straight = tmp_path / "run", tmp_path / "straight"

    def with_rule(**options: Any) -> Any:
        rule = EarlyStopping("eval/clip_i", patience=1, min_steps=stopped_at)
        callbacks = [rule, Measure(dict.fromkeys(range(1, 9), 0.5)), Checkpoints(run)]
        return fit(tmp_path, model, callbacks, max_steps=8, **options)

    first, ckpt = with_rule(loggers=[CSVLogger(run)]), checkpoint_path(run, stopped_at)
    again = with_rule(resume=ckpt)
    assert first.global_step == again.global_step == stopped_at
    assert torch.equal(vectors(first), vectors(again))
    free = fit(tmp_path, model, [Checkpoints(run)], max_steps=8, resume=ckpt, loggers=[CSVLogger(run)])
    uninterrupted = fit(tmp_path, model, [Checkpoints(straight)], max_steps=8, loggers=[CSVLogger(straight)])
    assert free.global_step == uninterrupted.global_step == 8
    assert torch.equal(vectors(free), vectors(uninterrupted))
    assert losses(run) == losses(straight)


@pytest.mark.parametrize("make", [lambda: DVARStopping(stride=1, window=3, threshold=0.9), EarlyStopping])
def test_the_curve_of_a_resumed_run_equals_the_uninterrupted_one(tmp_path, model, make):
    uninterrupted, resumed = make(), make()
    fit(tmp_path, model, [uninterrupted], max_steps=10)
    fit(tmp_path, model, [make(), Checkpoints(tmp_path, every_n_steps=4)], max_steps=4)
    callbacks = [resumed, Checkpoints(tmp_path, every_n_steps=4)]
    fit(tmp_path, model, callbacks, max_steps=10, resume=checkpoint_path(tmp_path, 4))
    assert resumed.curves == uninterrupted.curves and len(uninterrupted.curves[""]) >= 3
    assert resumed.converged == uninterrupted.converged


def test_keep_best_exports_the_best_step_and_records_it(tmp_path, model, capsys):
    run = tmp_path / "run"
    measure = Measure({1: 0.1, 3: 0.7, 5: 0.7, 6: math.nan})
    module = fit(tmp_path, model, [measure, KeepBest("eval/clip_i"), RunCard(run), Export(run, every_n_steps=1)])
    learned, at_three = formats.read(run), formats.read(run / "learned_embeds-steps-3.safetensors")
    assert torch.equal(learned.vectors["clip_l"], at_three.vectors["clip_l"]) and learned.provenance["steps"] == "3"
    assert not torch.equal(learned.vectors["clip_l"], vectors(module))
    assert json.loads((run / "run.json").read_text())["result"]["best"] == {"step": 3, "eval/clip_i": 0.7}
    assert "kept the embedding of step 3: eval/clip_i 0.7" in capsys.readouterr().out


def test_mode_auto_is_min_for_losses_else_max():
    assert [KeepBest(name).sign for name in ("val/loss", "early_stopping/loss", "eval/clip_i")] == [-1, -1, 1]
    assert [KeepBest("val/loss", "max").sign, KeepBest("eval/clip_i", "min").sign] == [1, -1]


def test_keep_best_copies_the_average_of_the_vectors(tmp_path, model):
    keep = KeepBest("eval/clip_i")
    module = fit(tmp_path, model, [Measure({6: 1.0}), keep], ema=0.9)
    assert torch.equal(keep.best[""]["vectors"]["clip_l"], vectors(module))
    assert not torch.equal(vectors(module), module.learned_tokens[0].embedding.weights["clip_l"].detach())


def keep_best_callbacks(run: Path) -> list[Any]:
    return [KeepBest(), Export(run), Checkpoints(run, every_n_steps=2, total_limit=None)]


@pytest.fixture(scope="module")
def complete_run(model, tmp_path_factory):
    run = tmp_path_factory.mktemp("complete_run")
    callbacks = keep_best_callbacks(run)
    fit(run, model, callbacks, max_steps=8, loggers=[CSVLogger(run)])
    return callbacks, run


@pytest.mark.parametrize("at", [2, 4, 8])
def test_keep_best_survives_a_resume_at_any_checkpoint(tmp_path, model, complete_run, at):
    """A checkpoint is written before the validation of its step, so that is repeated."""
    (first, complete), cut = complete_run, tmp_path / "cut"
    shutil.copytree(complete, cut)
    (cut / "learned_embeds.safetensors").unlink()
    second = keep_best_callbacks(cut)
    fit(tmp_path, model, second, max_steps=8, loggers=[CSVLogger(cut)], resume=checkpoint_path(cut, at))
    assert (second[0].run_card_entry, second[0].value) == (first[0].run_card_entry, first[0].value)
    old, new = formats.read(complete), formats.read(cut)
    assert torch.equal(old.vectors["clip_l"], new.vectors["clip_l"])


def test_stride_counts_optimizer_steps_under_accumulation(tmp_path, model):
    rule = DVARStopping(stride=2, window=3)
    fit(tmp_path, model, [rule], max_steps=8, accumulate=2)
    steps = [step for step, _ in rule.curves[""]]
    assert steps[0] == 2 and {after - before for before, after in pairwise(steps)} == {2}
