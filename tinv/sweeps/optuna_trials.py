"""The trials of an Optuna study that one sweep runs."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from tinv.runs.record_status import write_status
from tinv.runs.status import Status
from tinv.runs.trial import PRUNED_AT, OptunaTrialRef, load_optuna, write_trial
from tinv.sweeps.points import SweepPoint, make_point
from tinv.sweeps.sweep_run import SweepRun

SWEEP, SURPLUS = "sweep", "surplus"
"""User attributes of a trial: the sweep that runs it, and whether it exceeds `n_trials`."""


class OptunaTrials:
    """Asks a study for trials, and tells it their results; other processes may share the study."""

    def __init__(self, study_ref: OptunaTrialRef, sweep: SweepRun, *, n_trials: int, sampler: str, seed: int):
        """Args:
        study_ref: the study.
        sweep: the sweep that runs the points.
        n_trials: how many trials to complete, over all processes.
        sampler: `tpe` or `random`.
        seed: seed of the sampler. Each trial draws with its own seed, from this one and the trial's number, so that
            processes that share a study do not draw the same values.
        """
        assert sweep.plan.space is not None
        self.optuna = load_optuna()
        self.study = study_ref.open()
        self.study_ref, self.space, self.sweep = study_ref, sweep.plan.space, sweep
        self.n_trials, self.sampler, self.seed = n_trials, sampler, seed
        self.states = self.optuna.trial.TrialState
        own = [trial for trial in self._trials() if trial.user_attrs.get(SWEEP) == sweep.id]
        self.failed_before = {trial.number for trial in self._trials() if trial.state == self.states.FAIL}
        self.unfinished = [trial for trial in own if trial.state == self.states.RUNNING]
        sweep.results.add(self._point(t.number, t.params) for t in own if SURPLUS not in t.user_attrs)
        sweep.results.refresh()

    def points(self) -> Iterator[SweepPoint]:
        """Yields this sweep's unfinished trials, then new ones until there are `n_trials` without earlier failures."""
        for trial in self.unfinished:
            yield self._start(self.optuna.Trial(self.study, trial._trial_id))
        while self._count() < self.n_trials and not self.sweep.is_over:
            trial = self.study.ask()
            trial.set_user_attr(SWEEP, self.sweep.id)
            if self._count(before=trial.number) >= self.n_trials:  # another process asked first
                trial.set_user_attr(SURPLUS, True)
                self.study.tell(trial, state=self.states.FAIL)
                return
            yield self._start(trial)

    def tell(self, point: SweepPoint, status: Status) -> Status:
        """Tells the study how a point ended, and returns the status that the sweep records."""
        trial = self._trials()[point.number]
        if status.status == "interrupted":
            return status  # the trial stays RUNNING, so that a resumed sweep continues it
        if status.status == "done" and PRUNED_AT in trial.user_attrs:
            status = replace(status, status="pruned", reason=f"ended early at step {trial.user_attrs[PRUNED_AT]}")
            write_status(self.sweep.folder / str(point.number), status)
            self.study.tell(point.number, state=self.states.PRUNED)
        elif status.status == "done" and status.value is not None:
            self.study.tell(point.number, status.value)
        else:
            self.study.tell(point.number, state=self.states.FAIL)
        return status

    def describe_best(self) -> str:
        """Returns a sentence about the best point of the study, whichever process ran it."""
        if not any(trial.state == self.states.COMPLETE for trial in self._trials()):
            return "no point was completed"
        best = self.study.best_trial
        return f"the best is {self._point(best.number, best.params).label} with {best.value:.6g}"

    def _start(self, trial: Any) -> SweepPoint:
        digest = blake2b(f"{self.seed} {trial.number}".encode(), digest_size=4).digest()
        samplers, seed = self.optuna.samplers, int.from_bytes(digest, "little")
        self.study.sampler = {"tpe": samplers.TPESampler, "random": samplers.RandomSampler}[self.sampler](seed=seed)
        for name, distribution in self.space.distributions.items():
            self._suggest(trial, name, distribution)
        point = self._point(trial.number, trial.params)
        if point.number not in self.sweep.results.rows:
            self.sweep.results.add([point])
        write_trial(self.sweep.folder / str(point.number), self.study_ref, trial._trial_id)
        return point

    def _suggest(self, trial: Any, name: str, distribution: Any) -> None:
        kinds = self.optuna.distributions
        if isinstance(distribution, kinds.CategoricalDistribution):
            trial.suggest_categorical(name, distribution.choices)
        else:
            is_int = isinstance(distribution, kinds.IntDistribution)
            suggest = trial.suggest_int if is_int else trial.suggest_float
            suggest(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)

    def _point(self, number: int, params: dict[str, Any]) -> SweepPoint:
        overrides = self.space.overrides(params)
        return make_point(number, [*self.space.fixed, *overrides], overrides)

    def _count(self, before: int | None = None) -> int:
        """Counts the trials that can still be completed, or those with numbers below `before`."""
        trials = self._trials()[:before]
        return sum(t.number not in self.failed_before and SURPLUS not in t.user_attrs for t in trials)

    def _trials(self) -> list[Any]:
        trials: list[Any] = self.study.get_trials(deepcopy=False)
        return trials
