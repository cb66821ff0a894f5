"""The Optuna trial that a run is: trial.json in its folder says where to report.

A file, not an object, because the run may be another process, on another machine.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinv.errors import UserError
from tinv.optional_deps import remedy
from tinv.runs.files import write_json
from tinv.runs.layout import TRIAL
from tinv.runs.reader import RunReader

if TYPE_CHECKING:
    import optuna

PRUNED_AT = "pruned_at"
"""The trial's attribute that says at which step its run was ended early."""


@dataclass(frozen=True)
class OptunaTrialRef:
    """Where a study is kept, and when its runs are ended early."""

    storage: str
    """The path of a journal file, or a database such as `sqlite:///study.db`."""
    name: str
    direction: str = "minimize"
    pruner: str = "none"
    """`median` or `none`."""
    pruner_startup_trials: int = 5
    """How many trials run to their end before any is ended early."""
    pruner_warmup_steps: int = 0
    """How many steps each run may take in any case."""

    def open(self) -> "optuna.Study":
        """The study; begun if it is not there yet.

        Raises:
            UserError: Optuna is not installed, or the place cannot be reached.
        """
        optuna = load_optuna()
        from sqlalchemy.exc import SQLAlchemyError  # comes with Optuna

        try:
            study = optuna.create_study(
                storage=self._storage(optuna),
                study_name=self.name,
                direction=self.direction,
                pruner=self._pruner(optuna),
                load_if_exists=True,
            )
        except (OSError, ValueError, ImportError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"hydra.sweeper.storage: cannot open {self.storage} ({reason}); name another place"
            ) from error
        if study.direction.name.lower() != self.direction:
            raise UserError(
                f"hydra.sweeper.direction={self.direction}: the study {self.name} in {self.storage} is to "
                f"{study.direction.name.lower()}; set the same, or give hydra.sweeper.study_name another name"
            )
        return study

    def _storage(self, optuna: Any) -> Any:
        if re.match(r"\w[\w+]+://", self.storage):
            return self.storage
        journal = optuna.storages.journal
        Path(self.storage).parent.mkdir(parents=True, exist_ok=True)
        lock = journal.JournalFileOpenLock(self.storage)
        return optuna.storages.JournalStorage(journal.JournalFileBackend(self.storage, lock_obj=lock))

    def _pruner(self, optuna: Any) -> Any:
        if self.pruner == "none":
            return optuna.pruners.NopPruner()
        return optuna.pruners.MedianPruner(self.pruner_startup_trials, self.pruner_warmup_steps)


def write_trial(run: Path, place: OptunaTrialRef, trial_id: int) -> None:
    """Make a run the trial of a study."""
    write_json(run / TRIAL, {"study": asdict(place), "trial": trial_id})


def read_trial(run: Path | str) -> "optuna.Trial | None":
    """The trial that a run is, or None if it is none."""
    reader = RunReader(run)
    if (trial := reader.trial) is None:
        if reader.problems:
            raise UserError(f"{reader.folder / TRIAL} cannot be read ({reader.problems[TRIAL]}). Remove it.")
        return None
    optuna = load_optuna()
    return optuna.Trial(OptunaTrialRef(**trial["study"]).open(), trial["trial"])


def load_optuna() -> Any:
    """The library, told to be quiet.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError(f"hydra/sweeper=optuna needs Optuna, which is missing{remedy('optuna')}") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
