"""The twelve toys, or some: learned as a sweep, drawn, and measured against fresh renders."""

from collections.abc import Sequence
from pathlib import Path

from tinv.errors import UserError
from tinv.evaluation import find_targets
from tinv.evaluation.dreambench.subject_runs import folder_overrides, train_subjects, training_command
from tinv.evaluation.dreambench.summary import write_summary
from tinv.evaluation.results import Result
from tinv.toybox.toybench import NAMES, Name, make_concept
from tinv.toybox.toybench.fidelity import PROMPTS, RENDERS, evaluate_toys

FILE = "toybench.json"
_NO_SHEETS = "callbacks.samples.every_n_steps=null"
"""Sheets of samples on the way would take a quarter of the time; the first and the last stay."""


def toybench(
    out: Path,
    overrides: Sequence[str],
    *,
    toys: Sequence[Name] = NAMES,
    seeds: Sequence[int] = range(8),
    num_inference_steps: int = 20,
    device: str | None = None,
) -> Result:
    """Learn, draw and measure what is not done yet.

    Args:
        out: where the benchmark is kept.
        overrides: settings of the runs, such as `loss=debiased seed=0,1,2`.
        toys: some of the twelve.
        seeds: samples of each prompt.
        num_inference_steps: of the sampler.
        device: of samples and towers; None is the fastest.

    Returns:
        What is in `toybench.json`.

    Raises:
        UserError: a setting is wrong, the sweep could not begin, or no run came to its end.
    """
    folder = train_subjects(out, sweep_arguments(out, toys, overrides))
    names = {make_concept(name).placeholder_token: name for name in toys}
    targets = [target for target in find_targets([folder])[folder] if target.token in names]
    if not targets:
        raise UserError(f"{folder} has no word for any of the toys; look at its log.txt files")
    evaluations = evaluate_toys(targets, seeds=seeds, num_inference_steps=num_inference_steps, device=device)
    protocol = {
        "name": "toybench",
        "subjects": len(toys),
        "samples": len(toys) * len(PROMPTS) * len(seeds),
        "renders": RENDERS,
        "seeds": list(seeds),
        "num_inference_steps": num_inference_steps,
    }
    return write_summary(out / FILE, list(zip(targets, evaluations, strict=True)), names, protocol)


def plan_command(out: Path, overrides: Sequence[str], *, toys: Sequence[Name] = NAMES) -> list[str]:
    """The command that trains, for whoever wants to type it elsewhere."""
    return training_command(out, sweep_arguments(out, toys, overrides))


def sweep_arguments(out: Path, toys: Sequence[Name], overrides: Sequence[str]) -> list[str]:
    """What is typed behind `train.py`.

    Raises:
        UserError: a toy is unknown, or the settings choose toys.
    """
    if unknown := [name for name in toys if name not in NAMES]:
        raise UserError(f"--toys: there is no {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if clash := [text for text in overrides if text.lstrip("+").startswith("concept.name=")]:
        raise UserError(f"{clash[0]}: the benchmark chooses the toys; say --toys {clash[0].partition('=')[2]}")
    sheets = [] if any(text.lstrip("~").startswith("callbacks") for text in overrides) else [_NO_SHEETS]
    return ["-m", "+experiment=toybench", *sheets, *overrides, *folder_overrides(out), f"concept.name={','.join(toys)}"]
