"""The trials of a study that one sweep runs: asked for, run as points, told how they went."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from tinv.runs.record_status import write_status
from tinv.runs.status import Status
from tinv.runs.trial import PRUNED_AT, OptunaTrialRef, load_optuna, write_trial
from tinv.sweeps.points import SweepPoint, point
from tinv.sweeps.search_space import SearchSpace
from tinv.sweeps.sweep_run import SweepRun

SWEEP, SURPLUS = "sweep", "surplus"
"""A trial's attributes: which sweep runs it, and that it was one too many."""


class OptunaTrials:
    """Shares a study with any number of other processes."""

    def __init__(
        self, place: OptunaTrialRef, space: SearchSpace, campaign: SweepRun, *, n_trials: int, sampler: str, seed: int
    ):
        """Args:
        place: of the study.
        space: what is searched.
        campaign: whose folder the points are run in.
        n_trials: how many are to end well, over all processes.
        sampler: `tpe` or `random`.
        seed: of the sampler; each trial draws with a seed of its own from this and its number, so that processes that
            share a study do not draw the same.
        """
        self.optuna = load_optuna()
        self.study = place.open()
        self.place, self.space, self.campaign = place, space, campaign
        self.n_trials, self.sampler, self.seed = n_trials, sampler, seed
        self.states = self.optuna.trial.TrialState
        own = [trial for trial in self._trials() if trial.user_attrs.get(SWEEP) == campaign.id]
        self.failed_before = {trial.number for trial in self._trials() if trial.state == self.states.FAIL}
        self.left_over = [trial for trial in own if trial.state == self.states.RUNNING]
        campaign.ledger.enter(self._point(t.number, t.params) for t in own if SURPLUS not in t.user_attrs)
        campaign.ledger.refresh()

    def points(self) -> Iterator[SweepPoint]:
        """First what this sweep did not finish, then new trials until there are enough; failed ones count as tried."""
        for trial in self.left_over:
            yield self._begin(self.optuna.Trial(self.study, trial._trial_id))
        while self._count() < self.n_trials and not self.campaign.is_over:
            trial = self.study.ask()
            trial.set_user_attr(SWEEP, self.campaign.id)
            if self._count(before=trial.number) >= self.n_trials:  # another process was faster
                trial.set_user_attr(SURPLUS, True)
                self.study.tell(trial, state=self.states.FAIL)
                return
            yield self._begin(trial)

    def tell(self, point: SweepPoint, status: Status) -> Status:
        """Tell the study how a point ended; gives back what the sweep is to note."""
        trial = self._trials()[point.number]
        if status.status == "interrupted":
            return status  # to be gone on with
        if status.status == "done" and PRUNED_AT in trial.user_attrs:
            status = replace(status, status="pruned", reason=f"ended early at step {trial.user_attrs[PRUNED_AT]}")
            write_status(self.campaign.folder / str(point.number), status)
            self.study.tell(point.number, state=self.states.PRUNED)
        elif status.status == "done" and status.value is not None:
            self.study.tell(point.number, status.value)
        else:
            self.study.tell(point.number, state=self.states.FAIL)
        return status

    def best(self) -> str:
        """The best point of the study so far, whoever ran it."""
        done = [trial for trial in self._trials() if trial.state == self.states.COMPLETE]
        if not done:
            return "none of the points has ended well"
        found = self.study.best_trial
        return f"the best is {self._point(found.number, found.params).label} with {found.value:.6g}"

    def _begin(self, trial: Any) -> SweepPoint:
        digest = blake2b(f"{self.seed} {trial.number}".encode(), digest_size=4).digest()
        samplers, seed = self.optuna.samplers, int.from_bytes(digest, "little")
        self.study.sampler = {"tpe": samplers.TPESampler, "random": samplers.RandomSampler}[self.sampler](seed=seed)
        for name, distribution in self.space.distributions.items():
            self._suggest(trial, name, distribution)
        begun = self._point(trial.number, trial.params)
        if begun.number not in self.campaign.ledger.rows:
            self.campaign.ledger.enter([begun])
        write_trial(self.campaign.folder / str(begun.number), self.place, trial._trial_id)
        return begun

    def _suggest(self, trial: Any, name: str, distribution: Any) -> None:
        kinds = self.optuna.distributions
        if isinstance(distribution, kinds.CategoricalDistribution):
            trial.suggest_categorical(name, distribution.choices)
        else:
            is_int = isinstance(distribution, kinds.IntDistribution)
            suggest = trial.suggest_int if is_int else trial.suggest_float
            suggest(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)

    def _point(self, number: int, chosen: dict[str, Any]) -> SweepPoint:
        overrides = self.space.overrides(chosen)
        return point(number, [*self.space.fixed, *overrides], overrides)

    def _count(self, before: int | None = None) -> int:
        """How many trials of those that are meant to end well there are, or were before one."""
        trials = self._trials()[:before]
        return sum(t.number not in self.failed_before and SURPLUS not in t.user_attrs for t in trials)

    def _trials(self) -> list[Any]:
        found: list[Any] = self.study.get_trials(deepcopy=False)
        return found
