"""The twelve toys, or some: learned as a sweep, drawn, and measured against fresh renders."""

from collections.abc import Sequence
from pathlib import Path

from tinv.errors import UserError
from tinv.evaluation import find_subjects
from tinv.evaluation.dreambench import summary as outcome
from tinv.evaluation.dreambench.subject_runs import command, places, train
from tinv.evaluation.evaluate import Result
from tinv.toybox.toybench import NAMES, Name, concept
from tinv.toybox.toybench.fidelity import PROMPTS, RENDERS, measured

FILE = "toybench.json"
_NO_SHEETS = "callbacks.samples.every_n_steps=null"
"""Sheets of samples on the way would take a quarter of the time; the first and the last stay."""


def toybench(
    out: Path,
    overrides: Sequence[str],
    *,
    toys: Sequence[Name] = NAMES,
    seeds: Sequence[int] = range(8),
    steps: int = 20,
    device: str | None = None,
) -> Result:
    """Learn, draw and measure what is not done yet.

    Args:
        out: where the benchmark is kept.
        overrides: settings of the runs, such as `loss=debiased seed=0,1,2`.
        toys: some of the twelve.
        seeds: samples of each prompt.
        steps: of the solver.
        device: of samples and towers; None is the fastest.

    Returns:
        What is in `toybench.json`.

    Raises:
        UserError: a setting is wrong, the sweep could not begin, or no run came to its end.
    """
    folder = train(out, typed(out, toys, overrides))
    names = {concept(name).placeholder_token: name for name in toys}
    words = [word for word in find_subjects([folder])[folder] if word.learned.placeholder_token in names]
    if not words:
        raise UserError(f"{folder} has no word for any of the toys; look at its log.txt files")
    rows = list(zip(words, measured(words, seeds=seeds, steps=steps, device=device), strict=True))
    protocol = {
        "name": "toybench",
        "subjects": len(toys),
        "samples": len(toys) * len(PROMPTS) * len(seeds),
        "renders": RENDERS,
        "seeds": list(seeds),
        "steps": steps,
    }
    return outcome.write(out / FILE, rows, names, protocol)


def planned(out: Path, overrides: Sequence[str], *, toys: Sequence[Name] = NAMES) -> list[str]:
    """The command that trains, for whoever wants to type it elsewhere."""
    return command(out, typed(out, toys, overrides))


def typed(out: Path, toys: Sequence[Name], overrides: Sequence[str]) -> list[str]:
    """What is typed behind `train.py`.

    Raises:
        UserError: a toy is unknown, or the settings choose toys.
    """
    if unknown := [name for name in toys if name not in NAMES]:
        raise UserError(f"--toys: there is no {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if clash := [text for text in overrides if text.lstrip("+").startswith("concept.name=")]:
        raise UserError(f"{clash[0]}: the benchmark chooses the toys; say --toys {clash[0].partition('=')[2]}")
    sheets = [] if any(text.lstrip("~").startswith("callbacks") for text in overrides) else [_NO_SHEETS]
    return ["-m", "+experiment=toybench", *sheets, *overrides, *places(out), f"concept.name={','.join(toys)}"]
