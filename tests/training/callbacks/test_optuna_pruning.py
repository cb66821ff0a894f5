"""A run that is a trial of a study reports to it, and stops where the study says so; any other run is left alone."""

from pathlib import Path

import optuna
import pytest

from tests.training.callbacks.fitting import fit
from tinv.errors import UserError
from tinv.models import LatentDiffusion
from tinv.runs.trial import PRUNED_AT, OptunaTrialRef, read_trial, write_trial
from tinv.training.callbacks import Checkpoints, OptunaPruning


@pytest.fixture
def place(tmp_path: Path) -> OptunaTrialRef:
    return OptunaTrialRef(str(tmp_path / "study.journal"), "test", pruner="median", pruner_startup_trials=1)


def trial_in(folder: Path, place: OptunaTrialRef) -> optuna.Trial:
    trial = place.open().ask()
    write_trial(folder, place, trial._trial_id)
    return trial


def earlier(place: OptunaTrialRef, loss: float) -> None:
    """Another trial that had this loss at each step."""
    study = place.open()
    trial = study.ask()
    for step in (4, 6):
        trial.report(loss, step)
    study.tell(trial, loss)


def test_a_run_that_is_worse_than_the_others_ends_early_and_in_order(tmp_path, model: LatentDiffusion, place):
    earlier(place, loss=0.0)
    trial = trial_in(tmp_path / "run", place)
    module = fit(tmp_path, model, [OptunaPruning(tmp_path / "run"), Checkpoints(tmp_path / "run")], max_steps=12)
    assert module.global_step == 4
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_000004.ckpt"]
    told = place.open().trials[trial.number]
    assert told.user_attrs == {PRUNED_AT: 4}
    assert told.intermediate_values == {4: pytest.approx(float(module.trainer.callback_metrics["val/loss"]))}


@pytest.mark.parametrize("other_loss", [10.0, None])
def test_a_run_that_is_not_goes_on_and_its_last_step_is_no_early_end(
    tmp_path, model: LatentDiffusion, place, other_loss
):
    if other_loss:
        earlier(place, loss=other_loss)
    trial = trial_in(tmp_path / "run", place)
    module = fit(tmp_path, model, [OptunaPruning(tmp_path / "run")], max_steps=6)
    told = place.open().trials[trial.number]
    assert module.global_step == 6
    assert (list(told.intermediate_values), told.user_attrs) == ([4, 6], {})


def test_a_run_that_is_gone_on_with_reports_a_step_once(tmp_path, model: LatentDiffusion, place, recwarn):
    trial = trial_in(tmp_path / "run", place)
    trial.report(0.25, 4)
    fit(tmp_path, model, [OptunaPruning(tmp_path / "run")], max_steps=6)
    assert place.open().trials[trial.number].intermediate_values[4] == 0.25
    assert not [warning for warning in recwarn if "already reported" in str(warning.message)]


def test_a_run_that_is_no_trial_needs_no_optuna(tmp_path, model: LatentDiffusion, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    assert fit(tmp_path, model, [OptunaPruning(tmp_path / "run")], max_steps=4).global_step == 4
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "trial.json").write_text('{"study": {"storage": "s", "name": "n"}, "trial": 0}')
    with pytest.raises(UserError, match=r'Optuna is not installed; pip install "tinv\[optuna\]"'):
        read_trial(tmp_path / "run")


@pytest.mark.parametrize("storage", ["study.journal", "sqlite:///study.db"])
def test_a_study_is_found_again_and_only_with_its_direction(tmp_path, monkeypatch, storage):
    monkeypatch.chdir(tmp_path)
    first = OptunaTrialRef(storage, "one").open()
    first.tell(first.ask(), 1.0)
    assert len(OptunaTrialRef(storage, "one").open().trials) == 1
    assert len(OptunaTrialRef(storage, "two").open().trials) == 0
    with pytest.raises(UserError, match=r"has the direction minimize\. Set the same"):
        OptunaTrialRef(storage, "one", direction="maximize").open()


def test_a_storage_that_cannot_be_reached_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    for storage in (str(tmp_path / "file" / "study.journal"), "sqlite:////nowhere/at/all.db", "nonsense://here"):
        with pytest.raises(UserError, match=r"hydra\.sweeper\.storage=.*cannot be opened"):
            OptunaTrialRef(storage, "one").open()
