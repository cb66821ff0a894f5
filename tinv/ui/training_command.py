"""The command of a run, from what the page asks; and its start as a process that outlives the server."""

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tinv.errors import UserError
from tinv.runs.layout import LOG
from tinv.runs.record_status import write_status
from tinv.runs.resume import choose_run_dir
from tinv.runs.status import Status

_PLAIN = re.compile(r"[A-Za-z0-9_./:+%@-]+")
"""Values that need no quotes in an override."""
GROUPS = ("experiment", "recipe", "model", "memory", "concept")
_ADDED = ("experiment", "recipe")
"""Groups that are not in the defaults list."""
SETTINGS = {
    "name": "name",
    "placeholder_token": "concept.placeholder_token",
    "initializer_token": "concept.initializer_token",
    "num_vectors": "embedding.num_vectors",
    "max_steps": "trainer.max_steps",
    "learning_rate": "optimizer.lr",
    "seed": "seed",
}
"""Fields of the form and the settings that they set; an empty field sets nothing."""


def build_overrides(form: Mapping[str, Any], *, images: Path | None) -> list[str]:
    """Returns the overrides of a run.

    Args:
        form: by field: options of `GROUPS`, values of `SETTINGS`, `has_captions`, and `further`, a text of overrides.
        images: the folder of training images; None leaves the setting to the experiment.

    Raises:
        UserError: an option does not exist, or a quote in `further` is not closed.
    """
    overrides = []
    for group in GROUPS:
        if option := str(form.get(group) or ""):
            if option not in group_options()[group]:
                raise UserError(f"{group}={option[:100]}: there is no such option.")
            overrides.append(f"{'+' if group in _ADDED else ''}{group}={option}")
    if images is not None:
        overrides.append(f"data.folder={quote(images.absolute().as_posix())}")
        overrides.append(f"data.captions={'files' if form.get('has_captions') else 'templates'}")
    for field, setting in SETTINGS.items():
        if value := str(form.get(field) or "").strip():
            overrides.append(f"{setting}={quote(value)}")
    try:
        return [*overrides, *shlex.split(str(form.get("further") or ""))]
    except ValueError:
        raise UserError("Further settings: a quote is not closed.") from None


def quote(value: str) -> str:
    """Returns a text as the value of an override, in quotes where Hydra would read it as something else."""
    if _PLAIN.fullmatch(value):
        return value
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value)
    return f"'{escaped}'"


def shown_command(overrides: list[str], root: Path) -> str:
    """Returns the command line that starts the same run in a shell."""
    return shlex.join(["tinv-train", *overrides, f"paths.root_dir={quote(root.as_posix())}"])


@cache
def group_options() -> dict[str, dict[str, str]]:
    """Returns the options of each group, with the first line of their comments."""
    from tinv.config.compose import Groups
    from tinv.config.validate import CONF_DIR

    groups = Groups()
    return {
        group: {option: _first_comment(CONF_DIR / group / f"{option}.yaml") for option in groups.options(group)}
        for group in GROUPS
    }


def _first_comment(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    comments = [line[1:].strip() for line in lines if line.startswith("#") and not line.startswith("# @")]
    return comments[0] if comments else ""


def start_run(overrides: list[str], *, root: Path, name: str) -> tuple[Path, "subprocess.Popen[bytes]"]:
    """Starts a run as a process that outlives this one, and returns its folder.

    Raises:
        UserError: the folder cannot be made.
    """
    folder = Path(choose_run_dir(root, name or "untitled"))
    write_status(folder, Status("waiting"))
    where = [f"paths.root_dir={quote(root.as_posix())}", f"hydra.run.dir={quote(folder.absolute().as_posix())}"]
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tinv.training.main", *overrides, *where],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return folder, process


def record_failure(folder: Path, exit_code: int, log: str) -> None:
    """Records that a run ended before it could record anything itself."""
    reason = log.strip()[-2000:] or f"the process ended with code {exit_code}"
    write_status(folder, Status("failed", reason=reason))
