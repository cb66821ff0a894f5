"""Trains the toys as a sweep, draws samples, and compares them with renders."""

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
"""Skips samples during training, which take a quarter of the time."""


def toybench(
    out: Path,
    overrides: Sequence[str],
    *,
    toys: Sequence[Name] = NAMES,
    seeds: Sequence[int] = range(8),
    num_inference_steps: int = 20,
    device: str | None = None,
) -> Result:
    """Trains, draws and measures what is not done yet.

    Args:
        out: the benchmark's folder.
        overrides: settings of the runs, such as `loss=debiased seed=0,1,2`.
        toys: some of the twelve.
        seeds: samples of each prompt.
        num_inference_steps: of the sampler.
        device: for samples and feature extractors; None is the fastest.

    Returns:
        The content of `toybench.json`.

    Raises:
        UserError: a setting is wrong, the sweep could not start, or no run finished.
    """
    folder = train_subjects(out, sweep_arguments(out, toys, overrides))
    names = {make_concept(name).placeholder_token: name for name in toys}
    targets = [target for target in find_targets([folder])[folder] if target.token in names]
    if not targets:
        raise UserError(f"{folder} has no embedding of any of the toys. See the log.txt files of its runs.")
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
    """Returns the training command."""
    return training_command(out, sweep_arguments(out, toys, overrides))


def sweep_arguments(out: Path, toys: Sequence[Name], overrides: Sequence[str]) -> list[str]:
    """Returns the arguments of `train.py`.

    Raises:
        UserError: a toy is unknown, or the overrides choose toys.
    """
    if unknown := [name for name in toys if name not in NAMES]:
        raise UserError(f"--toys={','.join(unknown)}: no such toy. Choose from {', '.join(NAMES)}.")
    if clash := [text for text in overrides if text.lstrip("+").startswith("concept.name=")]:
        raise UserError(f"{clash[0]}: the benchmark sets concept.name. Use --toys {clash[0].partition('=')[2]}.")
    sheets = [] if any(text.lstrip("~").startswith("callbacks") for text in overrides) else [_NO_SHEETS]
    return ["-m", "+experiment=toybench", *sheets, *overrides, *folder_overrides(out), f"concept.name={','.join(toys)}"]
