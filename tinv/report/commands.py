"""Commands that repeat a run, and that use its result."""

import shlex

from tinv.config.secrets import hide
from tinv.errors import UserError
from tinv.runs.layout import concept_dirs
from tinv.runs.reader import RunReader, SweepReader


def sweep_command(sweep: SweepReader) -> str:
    """Returns the command line of a sweep."""
    plan = sweep.plan or {}
    overrides, config_dir = plan.get("command"), plan.get("config_dir")
    if not isinstance(overrides, list):
        return ""
    options = ["--config-dir", config_dir] if config_dir else []
    return hide(f"python train.py {shlex.join(map(str, [*options, '-m', *overrides]))}")


def run_command(run: RunReader) -> str:
    """Returns the command line of a run."""
    command = run.card.get("command")
    if isinstance(command, str) and command:
        return hide(f"python {command}" if command.startswith("train.py") else command)
    return hide(f"python train.py {shlex.join(run.overrides)}") if run.overrides else ""


def generate_command(run: RunReader) -> str:
    """Returns the command that draws with the embeddings of a run."""
    folders = concept_dirs(run.folder)
    prompts = [f"a {{{folder.name}}} on the beach" for folder in folders] if len(folders) > 1 else ["a {} on the beach"]
    if run.card_section("concept").get("kind") == "style" and len(folders) == 1:
        prompts = ["a house in the style of {}"]
    return shlex.join(["tinv", "generate", "--embedding", str(run.folder), *prompts, "--seeds", "0-3"])


def python_code(run: RunReader) -> str:
    """Returns Python code that draws with the embedding; empty if there is not exactly one readable embedding."""
    from tinv import formats
    from tinv.publish.model_card import usage

    try:
        learned = formats.read(run.folder)
    except (UserError, OSError):
        return ""
    return usage(learned, repo_id=str(run.folder), files=[path.name for path in run.embeddings])
