"""`tinv report`: reads a folder and writes its page."""

import warnings
from datetime import UTC, datetime
from pathlib import Path

from tinv.errors import UserError
from tinv.report.run_page import run_page
from tinv.report.sweep_page import sweep_page
from tinv.runs.files import write_text
from tinv.runs.layout import REPORT, RUN_FILES, SWEEP_RESULTS
from tinv.runs.reader import FolderReader, RunReader, SweepReader


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Writes the page of a sweep or of a run, which may still be running, and returns its path.

    Args:
        folder: the folder of the sweep or the run.
        output: the path of the page; None is `report.html` in the folder.

    Raises:
        UserError: the folder holds no sweep and no run, or the page cannot be written.
    """
    output = output or folder / REPORT
    if output.is_dir():
        output /= REPORT
    as_of = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    readers: list[FolderReader]
    if (sweep := SweepReader(folder)).exists:
        page = sweep_page(sweep, output=output, as_of=as_of)
        readers = [sweep, *(point.run for point in sweep.points)]
    elif (run := RunReader(folder)).exists:
        page = run_page(run, output=output, as_of=as_of)
        readers = [run]
    else:
        raise UserError(f"{folder}: {_problem(folder)}. Give the folder of a sweep or of a run.")
    for reader in readers:
        for problem in reader.describe_problems():
            warnings.warn(problem, stacklevel=2)
    write_text(output, page)
    return output


def _problem(folder: Path) -> str:
    if not folder.is_dir():
        return "not a folder" if folder.exists() else "does not exist"
    inside = [path for name in (*RUN_FILES, SWEEP_RESULTS) for path in folder.glob(f"*/{name}")]
    newest = max(inside, key=lambda path: path.stat().st_mtime, default=None)
    return "no sweep and no run" + (f"; the newest in it is {newest.parent}" if newest else "")
