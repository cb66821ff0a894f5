"""Where a run lives: a folder of its own, or the folder of the run that it continues."""

import re
from datetime import datetime
from itertools import count
from pathlib import Path

from tinv.errors import UserError

CHECKPOINTS = "checkpoints"
CONCEPTS = "concepts"
AUTO = "auto"
"""`resume`: go on where the run stands, or begin if it has not begun yet."""
_STEP = re.compile(r"step_(\d+)\.ckpt")


def place(outputs: Path | str, name: str, resume: str | int | None = None) -> str:
    """The folder for a run: `<outputs>/<name>/<time>`, or the one that `resume` means.

    A new folder is made at once, so that two runs that start in the same second get two. Registered as the resolver
    `run_dir`, which conf/config.yaml uses for `hydra.run.dir`.

    Raises:
        UserError: there is nothing to resume, or the folder cannot be made.
    """
    if resume == AUTO:
        resume = "latest" if any(checkpoints(run) for run in _runs(Path(outputs) / name)) else None
    if resume is not None:
        file = find(Path(outputs) / name, resume)
        if file.parent.name == CHECKPOINTS:
            return str(file.parent.parent)
    started = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for attempt in count(1):
        folder = Path(outputs) / name / (started if attempt == 1 else f"{started}_{attempt}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if folder.is_dir():
                continue
            raise UserError(
                f"paths.root_dir: {outputs} cannot hold runs, a file is in the way; name a folder"
            ) from None
        except OSError as error:
            raise UserError(
                f"paths.root_dir: cannot make {folder} ({error.strerror}); name a folder you may write to"
            ) from None
        return str(folder)
    raise AssertionError("unreachable")


def concept_dir(run_dir: Path | str, name: str) -> Path:
    """Where a concept's own files are: the run's folder, or one in it for each where there are several with a name."""
    return Path(run_dir) / CONCEPTS / name if name else Path(run_dir)


def concept_dirs(run_dir: Path | str) -> list[Path]:
    """The folders of a run's concepts, by name; the run's own folder where there is one only."""
    return sorted(path for path in (Path(run_dir) / CONCEPTS).glob("*") if path.is_dir()) or [Path(run_dir)]


def checkpoints(run_dir: Path | str) -> list[Path]:
    """A run's checkpoints, newest first."""
    folder = Path(run_dir) / CHECKPOINTS
    found = [path for path in folder.glob("step_*.ckpt") if _STEP.fullmatch(path.name)]
    return sorted(found, key=step_of, reverse=True)


def step_of(checkpoint: Path | str) -> int:
    """The optimizer step that a checkpoint's file name tells, -1 for a name of another kind."""
    match = _STEP.fullmatch(Path(checkpoint).name)
    return int(match[1]) if match else -1


def find(place: Path | str, resume: str | int) -> Path:
    """The checkpoint that `resume` means.

    Args:
        place: a run's folder, or the folder that holds the runs of one name.
        resume: `latest`, a step, or the path of a run folder or of a checkpoint.

    Raises:
        UserError: there is none; the message lists those there are.
    """
    wanted = str(resume)
    if wanted != "latest" and not wanted.isdecimal():
        path = Path(wanted).expanduser()
        if path.is_file():
            return path
        if path.is_dir() and (found := checkpoints(path)):
            return found[0]
        state = "holds no checkpoint" if path.is_dir() else "does not exist"
        raise UserError(
            f"resume={wanted} {state}; give a run folder or a .ckpt file, or latest or a step ({_choices(Path(place))})"
        )
    for run in _runs(Path(place)):
        for checkpoint in checkpoints(run):
            if wanted == "latest" or step_of(checkpoint) == int(wanted):
                return checkpoint
    raise UserError(f"resume={wanted}: there is no such checkpoint under {place}; {_choices(Path(place))}")


def _runs(place: Path) -> list[Path]:
    """The place itself if it is a run's folder, else the run folders in it, newest first."""
    if (place / CHECKPOINTS).is_dir():
        return [place]
    return sorted((path.parent for path in place.glob(f"*/{CHECKPOINTS}")), key=_age, reverse=True)


def _age(run: Path) -> tuple[str, int]:
    """Sorts `<time>`, `<time>_2`, `<time>_10` in this order."""
    started, attempt = run.name[:19], run.name[20:]
    return started, int(attempt) if attempt.isdecimal() else 0


def _choices(place: Path) -> str:
    there = [f"{run}: {', '.join(str(step_of(c)) for c in reversed(checkpoints(run)))}" for run in _runs(place)[:3]]
    there = [line for line in there if not line.endswith(": ")]
    return f"there are the steps {'; '.join(there)}" if there else f"no run under {place} has one yet"
