"""Runs that end when they have learned what they can, and what is kept of them."""

import json
import math
import shutil
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from tests.training.callbacks.fitting import fit, rows
from tinv import formats
from tinv.errors import UserError
from tinv.models import LatentDiffusion
from tinv.training.callbacks import Checkpoints, DVARStopping, EarlyStopping, Export, KeepBest, RunCard
from tinv.training.callbacks.dvar_stopping import default_stride, variance_ratio
from tinv.training.callbacks.early_stopping import last_improvement
from tinv.training.callbacks.logging import log_metrics
from tinv.training.loggers.csv_logger import CSVLogger


class Measure(Callback):
    """Measures something after each step, as an evaluation does: on the first process alone, from a list."""

    def __init__(self, values: dict[int, float], name: str = "eval/clip_i"):
        self.values, self.name = values, name

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.is_global_zero and trainer.global_step in self.values:
            log_metrics(trainer, {self.name: self.values[trainer.global_step]})


def losses(folder: Path) -> dict[int, str]:
    table = CSVLogger(folder)._rows
    return {step: row["train/loss"] for step, row in table.items() if "train/loss" in row}


# --- when a curve is flat


def test_the_variance_ratio_is_the_papers_and_numpy_agrees():
    chance = np.random.default_rng(0)
    curve = np.concatenate([np.linspace(1, 0.3, 20), 0.3 + 0.01 * chance.standard_normal(20)])
    for n in range(1, len(curve) + 1):
        expected = None if n <= 12 else np.var(curve[:n][-12:]) / np.var(curve[:n])
        assert variance_ratio(curve[:n].tolist(), 12) == (expected and pytest.approx(expected, rel=1e-12))
    assert variance_ratio([0.5] * 20, 12) is None, "what never moved has not come to rest"


def test_a_falling_curve_is_not_at_rest_and_one_that_has_fallen_is():
    rule = DVARStopping(window=10, threshold=0.15)
    falling = [(step, 1 - step / 1000) for step in range(0, 250, 10)]
    assert rule.convergence_reason(falling) is None
    longer = [(step, 1 - step / 1000) for step in range(0, 270, 10)]
    assert rule.convergence_reason(longer), "a straight line is flat from 1 / sqrt(threshold) windows on, by definition"
    fallen = [(step, math.exp(-step / 50)) for step in range(0, 500, 10)]
    assert "has converged" in rule.convergence_reason(fallen)


def test_an_improvement_is_more_than_min_delta_and_no_number_is_never_one():
    assert last_improvement([1.0, 2.0, 2.1, 2.2], 0.0) == (3, 0)
    assert last_improvement([1.0, 2.0, 2.1, 2.2], 0.5) == (1, 2)
    assert last_improvement([math.nan, -5.0, math.nan, -6.0], 0.1) == (1, 2)


def test_looks_take_less_than_a_twentieth_of_the_training_whatever_the_batch():
    for batch in (1, 2, 4, 8, 16):
        for draws in (1, 4, 8):
            assert 0.48 * draws / (default_stride(draws, batch) * batch) < 0.05
    assert default_stride(4, 4) == 10


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: DVARStopping(draws=0), "early_stopping.draws must be 1 or more"),
        (lambda: DVARStopping(window=1), "early_stopping.window must be 2 or more"),
        (lambda: DVARStopping(stride=0), "early_stopping.stride must be 1 or more"),
        (lambda: DVARStopping(threshold=1.0), "early_stopping.threshold must be above 0 and less than 1"),
        (lambda: EarlyStopping(patience=0), "early_stopping.patience must be 1 or more"),
        (lambda: EarlyStopping(min_delta=-1), "early_stopping.min_delta must be 0 or more"),
        (lambda: EarlyStopping(min_steps=-1), "early_stopping.min_steps must be 0 or more"),
        (lambda: EarlyStopping(monitor=None), "early_stopping.monitor must name a metric"),
        (lambda: KeepBest(monitor=None), "keep.monitor must name a metric"),
        (lambda: KeepBest(mode="least"), "keep.mode must be auto, min or max"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_words(make, said):
    with pytest.raises(UserError, match=said):
        make()


# --- runs


def test_looking_changes_no_bit_of_the_training(tmp_path, model: LatentDiffusion):
    plain = fit(tmp_path, model, [], loggers=[CSVLogger(tmp_path / "plain")])
    rule = DVARStopping(stride=1, window=5)
    looked = fit(tmp_path, model, [rule, KeepBest()], loggers=[CSVLogger(tmp_path / "looked")])
    assert [step for step, _ in rule.curves[""]] == [1, 2, 3, 4, 5, 6]
    assert len({value for _, value in rule.curves[""]}) == 6
    assert torch.equal(rows(plain), rows(looked))
    assert losses(tmp_path / "plain") == losses(tmp_path / "looked")


def test_a_look_passes_the_model_forward_once_with_the_same_draws_and_no_gradient(tmp_path, model, monkeypatch):
    seen: list[tuple[int, ...]] = []
    predict = type(model).predict

    def counted(self: Any, x: torch.Tensor, t: torch.Tensor, *rest: Any) -> torch.Tensor:
        if not torch.is_grad_enabled() and x.shape[0] == 3:
            seen.append(tuple(t.tolist()))
        return predict(self, x, t, *rest)

    monkeypatch.setattr(type(model), "predict", counted)
    fit(tmp_path, model, [DVARStopping(stride=2, draws=3, window=5)], max_steps=6)
    assert len(seen) == 3 and len(set(seen)) == 1, "steps 2, 4 and 6"
    assert sorted(seen[0]) == [166, 500, 833], "levels spread evenly"


def test_a_run_whose_loss_has_come_to_rest_stops_in_order(tmp_path, model, capsys):
    run = tmp_path / "run"
    rule = DVARStopping(stride=1, window=4, threshold=0.4)
    module = fit(
        tmp_path,
        model,
        [rule, RunCard(run), Export(run), Checkpoints(run)],
        max_steps=60,
        scheduler=partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda n: 0.3**n),
    )
    assert 4 < module.global_step < 60
    told = json.loads((run / "run.json").read_text())["result"]
    assert told["early_stopping"]["step"] == told["steps"] == module.global_step
    assert f"stopped at step {module.global_step} of 60: the loss of 4 fixed samples" in capsys.readouterr().out
    assert (run / "checkpoints" / f"step_{module.global_step:06d}.ckpt").is_file()
    assert formats.read(run).provenance["steps"] == str(module.global_step)
    assert "val/loss" in module.trainer.callback_metrics


def test_patience_ends_a_run_when_a_number_gets_no_better(tmp_path, model):
    values = {2: 0.5, 4: 0.6, 6: 0.61, 8: 0.55, 10: 0.9}
    rule = EarlyStopping("eval/clip_i", patience=2, min_delta=0.02)
    module = fit(tmp_path, model, [Measure(values), rule], max_steps=12)
    assert module.global_step == 8
    assert "eval/clip_i has not improved by more than 0.02 in 2 measurements, since 0.6 at step 4" in str(
        rule.run_card_entry
    )


def test_min_steps_puts_the_end_off(tmp_path, model):
    values = dict.fromkeys(range(1, 13), 0.5)
    rule = EarlyStopping("eval/clip_i", patience=2, min_steps=9)
    assert fit(tmp_path, model, [rule, Measure(values)], max_steps=12).global_step == 9


def test_a_number_that_nobody_measures_is_said_at_the_end(tmp_path, model, capsys):
    module = fit(tmp_path, model, [EarlyStopping("eval/clip_i"), KeepBest("eval/clip_i")])
    assert module.global_step == 6
    said = capsys.readouterr().out
    assert "early_stopping.monitor=eval/clip_i: the run never measured this metric" in said
    assert "keep.monitor=eval/clip_i: the run never measured this metric" in said


@pytest.mark.parametrize("stopped_at", [4, 5])
def test_a_stopped_run_that_is_gone_on_with_ends_at_once_and_without_the_rule_is_the_whole_run(
    tmp_path, model, stopped_at
):
    run, straight = tmp_path / "run", tmp_path / "straight"

    def rule() -> EarlyStopping:
        return EarlyStopping("eval/clip_i", patience=1, min_steps=stopped_at)

    values = dict.fromkeys(range(1, 9), 0.5)
    first = fit(tmp_path, model, [rule(), Measure(values), Checkpoints(run)], max_steps=8, loggers=[CSVLogger(run)])
    assert first.global_step == stopped_at
    ckpt = Checkpoints(run).path(stopped_at)
    again = fit(tmp_path, model, [rule(), Measure(values), Checkpoints(run)], max_steps=8, resume=ckpt)
    assert again.global_step == stopped_at
    assert torch.equal(rows(first), rows(again))
    free = fit(tmp_path, model, [Checkpoints(run)], max_steps=8, resume=ckpt, loggers=[CSVLogger(run)])
    whole = fit(tmp_path, model, [Checkpoints(straight)], max_steps=8, loggers=[CSVLogger(straight)])
    assert free.global_step == whole.global_step == 8
    assert torch.equal(rows(free), rows(whole))
    assert losses(run) == losses(straight)


@pytest.mark.parametrize("make", [lambda: DVARStopping(stride=1, window=3, threshold=0.9), EarlyStopping])
def test_a_curve_that_is_gone_on_with_is_the_uninterrupted_one(tmp_path, model, make):
    whole, begun, rest = make(), make(), make()
    fit(tmp_path, model, [whole, Checkpoints(tmp_path / "a", every_n_steps=4)], max_steps=10)
    fit(tmp_path, model, [begun, Checkpoints(tmp_path / "b", every_n_steps=4)], max_steps=4)
    resume = Checkpoints(tmp_path / "b").path(4)
    fit(tmp_path, model, [rest, Checkpoints(tmp_path / "b", every_n_steps=4)], max_steps=10, resume=resume)
    assert rest.curves == whole.curves and len(whole.curves[""]) >= 3
    assert rest.converged == whole.converged


# --- what is kept


def test_the_best_is_exported_and_the_card_says_which_it_was(tmp_path, model, capsys):
    run = tmp_path / "run"
    values = {1: 0.1, 3: 0.7, 5: 0.7, 6: math.nan}
    keep = [Measure(values), KeepBest("eval/clip_i"), RunCard(run), Export(run, every_n_steps=1)]
    module = fit(tmp_path, model, keep)
    learned = formats.read(run)
    at_three = formats.read(run / "learned_embeds-steps-3.safetensors")
    assert torch.equal(learned.vectors["clip_l"], at_three.vectors["clip_l"])
    assert not torch.equal(learned.vectors["clip_l"], rows(module))
    assert learned.provenance["steps"] == "3"
    assert json.loads((run / "run.json").read_text())["result"]["best"] == {"step": 3, "eval/clip_i": 0.7}
    assert "kept the embedding of step 3: eval/clip_i 0.7" in capsys.readouterr().out


def test_less_is_better_of_losses_and_more_of_all_else_unless_it_is_said():
    assert [KeepBest(name).sign for name in ("val/loss", "early_stopping/loss", "eval/clip_i")] == [-1, -1, 1]
    assert [KeepBest("val/loss", "max").sign, KeepBest("eval/clip_i", "min").sign] == [1, -1]


def test_the_average_is_what_is_kept_where_one_is_kept(tmp_path, model):
    keep = KeepBest("eval/clip_i")
    module = fit(tmp_path, model, [Measure({6: 1.0}), keep], ema=0.9)
    assert torch.equal(keep.best[""]["vectors"]["clip_l"], rows(module))
    assert not torch.equal(rows(module), module.learned_tokens[0].embedding.weights["clip_l"].detach())


def keeping(run: Path) -> list[Any]:
    return [KeepBest(), Export(run), Checkpoints(run, every_n_steps=2, total_limit=None)]


@pytest.fixture(scope="module")
def kept(model, tmp_path_factory):
    """The callbacks of a whole run, and its folder."""
    run = tmp_path_factory.mktemp("kept")
    callbacks = keeping(run)
    fit(run, model, callbacks, max_steps=8, loggers=[CSVLogger(run)])
    return callbacks, run


@pytest.mark.parametrize("at", [2, 4, 8])
def test_what_is_kept_survives_a_resume_wherever_it_is_cut(tmp_path, model, kept, at):
    """A checkpoint is written before the validation of its step: what that said is measured again."""
    (first, whole), cut = kept, tmp_path / "cut"
    shutil.copytree(whole, cut)
    (cut / "learned_embeds.safetensors").unlink()
    second = keeping(cut)
    resume = Checkpoints(cut).path(at)
    fit(tmp_path, model, second, max_steps=8, loggers=[CSVLogger(cut)], resume=resume)
    assert (second[0].run_card_entry, second[0].value) == (first[0].run_card_entry, first[0].value)
    old, new = formats.read(whole), formats.read(cut)
    assert torch.equal(old.vectors["clip_l"], new.vectors["clip_l"])


def test_steps_of_the_whole_curve_are_a_stride_apart_under_accumulation(tmp_path, model):
    rule = DVARStopping(stride=2, window=3)
    fit(tmp_path, model, [rule], max_steps=8, accumulate=2)
    steps = [step for step, _ in rule.curves[""]]
    assert steps[0] == 2 and {after - before for before, after in pairwise(steps)} == {2}
