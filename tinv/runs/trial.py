"""The Optuna trial of a run: trial.json in the run folder names the study to report to.

A file, not an object, because the run may be another process on another machine.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinv.errors import UserError
from tinv.optional_deps import install_hint
from tinv.runs.files import write_json
from tinv.runs.layout import TRIAL
from tinv.runs.reader import RunReader
from tinv.runs.typed import to_type

if TYPE_CHECKING:
    import optuna

PRUNED_AT = "pruned_at"
"""Attribute of a trial: the step at which its run was pruned."""


@dataclass(frozen=True)
class OptunaTrialRef:
    """An Optuna study, and how it prunes trials."""

    storage: str
    """The path of a journal file, or a database such as `sqlite:///study.db`."""
    name: str
    direction: str = "minimize"
    pruner: str = "none"
    """`median` or `none`."""
    pruner_startup_trials: int = 5
    """How many trials complete before any trial is pruned."""
    pruner_warmup_steps: int = 0
    """No trial is pruned before this step."""

    def open(self) -> "optuna.Study":
        """Returns the study; creates it if it does not exist.

        Raises:
            UserError: Optuna is not installed, or the storage cannot be opened.
        """
        optuna = load_optuna()
        from sqlalchemy.exc import SQLAlchemyError  # a dependency of Optuna

        pruners, limits = optuna.pruners, (self.pruner_startup_trials, self.pruner_warmup_steps)
        try:
            study = optuna.create_study(
                storage=self._storage(optuna),
                study_name=self.name,
                direction=self.direction,
                pruner=pruners.NopPruner() if self.pruner == "none" else pruners.MedianPruner(*limits),
                load_if_exists=True,
            )
        except (OSError, ValueError, ImportError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            problem = f"cannot be opened ({str(error).strip().partition(chr(10))[0]}). Give another storage."
            raise UserError(f"hydra.sweeper.storage={self.storage}: {problem}") from error
        if (direction := study.direction.name.lower()) != self.direction:
            raise UserError(
                f"hydra.sweeper.direction={self.direction}: the study {self.name} in {self.storage} has the direction "
                f"{direction}. Set the same, or another hydra.sweeper.study_name."
            )
        return study

    def _storage(self, optuna: Any) -> Any:
        if re.match(r"\w[\w+]+://", self.storage):
            return self.storage
        journal = optuna.storages.journal
        Path(self.storage).parent.mkdir(parents=True, exist_ok=True)
        lock = journal.JournalFileOpenLock(self.storage)
        return optuna.storages.JournalStorage(journal.JournalFileBackend(self.storage, lock_obj=lock))


def write_trial(run_dir: Path, study: OptunaTrialRef, trial_id: int) -> None:
    """Makes a run the trial of a study."""
    write_json(run_dir / TRIAL, {"study": asdict(study), "trial": trial_id})


def read_trial(run_dir: Path | str) -> "optuna.Trial | None":
    """Returns the trial of a run, or None if the run belongs to no study.

    Raises:
        UserError: trial.json is damaged, or the study cannot be opened.
    """
    reader = RunReader(run_dir)
    if (trial := reader.trial) is None:
        for problem in reader.describe_problems():
            raise UserError(f"{problem}. To train without its study, remove it.")
        return None
    optuna = load_optuna()
    try:
        return optuna.Trial(to_type(OptunaTrialRef, trial["study"]).open(), trial["trial"])
    except UserError:
        raise
    except (ValueError, KeyError) as error:
        problem = f"is damaged ({error.args[0]})"
        raise UserError(f"{reader.folder / TRIAL} {problem}. To train without its study, remove it.") from error


def load_optuna() -> Any:
    """Imports Optuna, with its log reduced to warnings.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError(f"hydra/sweeper=optuna: Optuna is not installed{install_hint('optuna')}") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
