"""OptunaPruning reports to the study and stops pruned runs; other runs are not affected."""

from pathlib import Path

import optuna
import pytest

from tests.training.callbacks.fitting import fit
from tinv.errors import UserError
from tinv.runs.trial import PRUNED_AT, OptunaTrialRef, read_trial, write_trial
from tinv.training.callbacks import Checkpoints, OptunaPruning


@pytest.fixture
def study_ref(tmp_path: Path) -> OptunaTrialRef:
    return OptunaTrialRef(str(tmp_path / "study.journal"), "test", pruner="median", pruner_startup_trials=1)


def start_trial(folder: Path, study_ref: OptunaTrialRef) -> optuna.Trial:
    trial = study_ref.open().ask()
    write_trial(folder, study_ref, trial._trial_id)
    return trial


def add_trial(study_ref: OptunaTrialRef, loss: float) -> None:
    """Adds a complete trial with this loss at each step."""
    study = study_ref.open()
    trial = study.ask()
    for step in (4, 6):
        trial.report(loss, step)
    study.tell(trial, loss)


def test_a_run_worse_than_others_is_pruned_and_ends_like_a_complete_one(tmp_path, model, study_ref):
    add_trial(study_ref, loss=0.0)
    trial = start_trial(tmp_path / "run", study_ref)
    module = fit(tmp_path, model, [OptunaPruning(tmp_path / "run"), Checkpoints(tmp_path / "run")], max_steps=12)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_000004.ckpt"]
    recorded = study_ref.open().trials[trial.number]
    assert recorded.user_attrs == {PRUNED_AT: 4}
    assert recorded.intermediate_values == {4: pytest.approx(float(module.trainer.callback_metrics["val/loss"]))}


@pytest.mark.parametrize("other_loss", [10.0, None])
def test_other_runs_continue_and_the_last_step_is_not_pruned(tmp_path, model, study_ref, other_loss):
    if other_loss:
        add_trial(study_ref, loss=other_loss)
    trial = start_trial(tmp_path / "run", study_ref)
    assert fit(tmp_path, model, [OptunaPruning(tmp_path / "run")], max_steps=6).global_step == 6
    recorded = study_ref.open().trials[trial.number]
    assert (list(recorded.intermediate_values), recorded.user_attrs) == ([4, 6], {})


def test_a_resumed_run_reports_a_step_once(tmp_path, model, study_ref, recwarn):
    trial = start_trial(tmp_path / "run", study_ref)
    trial.report(0.25, 4)
    fit(tmp_path, model, [OptunaPruning(tmp_path / "run")], max_steps=6)
    assert study_ref.open().trials[trial.number].intermediate_values[4] == 0.25
    assert not [warning for warning in recwarn if "already reported" in str(warning.message)]


def test_a_run_that_is_not_a_trial_does_not_need_optuna(tmp_path, model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    assert fit(tmp_path, model, [OptunaPruning(tmp_path / "run")], max_steps=4).global_step == 4
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "trial.json").write_text('{"study": {"storage": "s", "name": "n"}, "trial": 0}')
    with pytest.raises(UserError, match=r'Optuna is not installed; pip install "tinv\[optuna\]"'):
        read_trial(tmp_path / "run")


@pytest.mark.parametrize("storage", ["study.journal", "sqlite:///study.db"])
def test_a_study_is_reopened_with_the_same_direction_only(tmp_path, monkeypatch, storage):
    monkeypatch.chdir(tmp_path)
    first = OptunaTrialRef(storage, "one").open()
    first.tell(first.ask(), 1.0)
    assert [len(OptunaTrialRef(storage, name).open().trials) for name in ("one", "two")] == [1, 0]
    with pytest.raises(UserError, match=r"has the direction minimize\. Set the same"):
        OptunaTrialRef(storage, "one", direction="maximize").open()


def test_an_unreachable_storage_raises(tmp_path):
    (tmp_path / "file").touch()
    for storage in (str(tmp_path / "file" / "study.journal"), "sqlite:////nowhere/at/all.db", "nonsense://here"):
        with pytest.raises(UserError, match=r"hydra\.sweeper\.storage=.*cannot be opened"):
            OptunaTrialRef(storage, "one").open()
