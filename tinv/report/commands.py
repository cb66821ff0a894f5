"""What to type: to do it again, and to use what came of it."""

import shlex

from tinv.config.secrets import hide
from tinv.errors import UserError
from tinv.runs.layout import concept_dirs
from tinv.runs.reader import RunReader, SweepReader


def sweep_command(sweep: SweepReader) -> str:
    """What was typed for a sweep."""
    plan = sweep.plan or {}
    typed = plan.get("command")
    if not isinstance(typed, list):
        return ""
    where = plan.get("config_dir")
    words = [*(["--config-dir", str(where)] if where else []), "-m", *map(str, typed)]
    return hide(f"python train.py {shlex.join(words)}")


def run_command(run: RunReader) -> str:
    """What was typed for a run."""
    typed = run.card.get("command")
    if isinstance(typed, str) and typed:
        return hide(f"python {typed}" if typed.startswith("train.py") else typed)
    return hide(f"python train.py {shlex.join(run.overrides)}") if run.overrides else ""


def generate_command(run: RunReader) -> str:
    """Draws with what a run learned."""
    folders = concept_dirs(run.folder)
    prompts = [f"a {{{folder.name}}} on the beach" for folder in folders] if len(folders) > 1 else ["a {} on the beach"]
    if run.card_section("concept").get("kind") == "style" and len(folders) == 1:
        prompts = ["a house in the style of {}"]
    return shlex.join(["tinv", "generate", "--embedding", str(run.folder), *prompts, "--seeds", "0-3"])


def look_command(run: RunReader) -> str:
    """Makes the page of a run."""
    return shlex.join(["tinv", "report", str(run.folder)])


def python_code(run: RunReader) -> str:
    """Python that draws with what was learned, if that is one word, there and readable."""
    from tinv import formats
    from tinv.publish.model_card import usage

    try:
        learned = formats.read(run.folder)
    except (UserError, OSError):
        return ""
    return usage(learned, repo_id=str(run.folder), files=[path.name for path in run.embeddings])
