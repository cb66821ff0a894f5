"""Where a run lives: a new folder, or the folder of the run that it resumes."""

from collections.abc import Callable
from datetime import datetime
from itertools import count
from pathlib import Path

from tinv.errors import UserError
from tinv.runs.checkpoint_digest import find_damage, read_verified
from tinv.runs.layout import CHECKPOINTS, checkpoint_step, list_checkpoints

AUTO = "auto"
"""Value of `resume`: continue from the run's newest checkpoint, or start from the beginning if there is none."""


def choose_run_dir(root_dir: Path | str, name: str, resume: str | int | None = None) -> str:
    """Returns the folder for a run: a new `<root_dir>/<name>/<time>`, or the folder of the run to resume.

    A new folder is created at once, so that two runs that start in the same second get different folders.

    Raises:
        UserError: there is nothing to resume, or the folder cannot be created.
    """
    if name in ("", ".", "..") or set(name) & set("/\\"):
        raise UserError(f"name={name}: must be the name of a folder in paths.root_dir. Use letters and digits.")
    runs = [run for run in _list_runs(Path(root_dir) / name) if list_checkpoints(run)]
    if resume == AUTO and runs:
        return str(runs[0])
    if resume not in (None, AUTO):
        checkpoint = find_checkpoint(Path(root_dir) / name, resume)
        if checkpoint.parent.name == CHECKPOINTS:
            return str(checkpoint.parent.parent)
    started = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for attempt in count(1):
        folder = Path(root_dir) / name / (started if attempt == 1 else f"{started}_{attempt}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if folder.is_dir():
                continue
            raise UserError(f"paths.root_dir={root_dir}: a file has this name. Set it to a folder.") from None
        except OSError as error:
            problem = f"cannot create {folder} ({error.strerror}). Set it to a writable folder."
            raise UserError(f"paths.root_dir={root_dir}: {problem}") from None
        return str(folder)
    raise AssertionError("unreachable")


def find_checkpoint(
    folder: Path | str, resume: str | int, on_damage: Callable[[str], object] = lambda problem: None
) -> Path:
    """Returns the checkpoint that `resume` selects, with a correct digest.

    Args:
        folder: a run folder, or the folder of all runs with one name.
        resume: `latest`, a step, or the path of a run folder or of a checkpoint. `latest` and a run folder select the
            newest checkpoint that is not damaged; a step and a file select that checkpoint alone.
        on_damage: called with a message for each damaged checkpoint that is passed over.

    Raises:
        UserError: there is no such checkpoint, with a list of the existing ones; or it is damaged.
    """
    selector, folder = str(resume), Path(folder)
    runs = [run for run in _list_runs(folder) if list_checkpoints(run)]
    if selector == "latest":
        if runs:
            return _newest_intact(runs[0], selector, on_damage)
    elif selector.isdecimal():
        for path in (path for run in runs for path in list_checkpoints(run)):
            if checkpoint_step(path) == int(selector):
                return _require_intact(path, selector)
    else:
        path = Path(selector).expanduser()
        if path.is_file():
            return _require_intact(path, selector)
        if path.is_dir() and list_checkpoints(path):
            return _newest_intact(path, selector, on_damage)
        problem = "holds no checkpoint" if path.is_dir() else "does not exist"
        raise UserError(
            f"resume={selector}: {problem}. Give a run folder, a .ckpt file, latest, or a step "
            f"({_describe_checkpoints(folder)})."
        )
    raise UserError(f"resume={selector}: no such checkpoint under {folder}; {_describe_checkpoints(folder)}.")


def _newest_intact(run_dir: Path, selector: str, on_damage: Callable[[str], object]) -> Path:
    problem = ""
    for path in list_checkpoints(run_dir):
        if not (damage := find_damage(path)):
            return path
        on_damage(damage)
        problem = damage
    raise UserError(
        f"resume={selector}: every checkpoint in {run_dir / CHECKPOINTS} is damaged ({problem}) "
        f"To start again in this folder, set resume=auto."
    )


def _require_intact(path: Path, selector: str) -> Path:
    try:
        read_verified(path)
    except UserError as error:
        intact = [
            str(checkpoint_step(other)) for other in list_checkpoints(path.parent.parent) if not find_damage(other)
        ]
        others = f" Intact ones beside it: {', '.join(intact[::-1])}." if intact else ""
        raise UserError(f"resume={selector}: {error}{others}") from error
    return path


def _list_runs(folder: Path) -> list[Path]:
    """Returns the folder itself if it is a run folder, else the run folders in it, newest first."""
    if (folder / CHECKPOINTS).is_dir():
        return [folder]
    return sorted((path.parent for path in folder.glob(f"*/{CHECKPOINTS}")), key=_age, reverse=True)


def _age(run_dir: Path) -> tuple[str, int]:
    """Sort key that orders `<time>`, `<time>_2`, `<time>_10`."""
    started, attempt = run_dir.name[:19], run_dir.name[20:]
    return started, int(attempt) if attempt.isdecimal() else 0


def _describe_checkpoints(folder: Path) -> str:
    steps = {run: [checkpoint_step(path) for path in list_checkpoints(run)[::-1]] for run in _list_runs(folder)[:3]}
    lines = [f"{run}: {', '.join(map(str, numbers))}" for run, numbers in steps.items() if numbers]
    return f"existing steps: {'; '.join(lines)}" if lines else f"no run under {folder} has a checkpoint yet"
