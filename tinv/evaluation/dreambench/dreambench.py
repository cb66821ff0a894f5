"""The protocol of DreamBooth (Ruiz et al. 2022): 30 subjects x 25 prompts x 4 samples, one token for each subject."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinv.errors import UserError
from tinv.evaluation import EvaluationConfig, Evaluator, find_targets
from tinv.evaluation.dreambench.dataset import DreamBenchSubject, read_subjects
from tinv.evaluation.dreambench.subject_runs import sweep_arguments, train_subjects, training_command
from tinv.evaluation.dreambench.summary import Evaluated, write_summary
from tinv.evaluation.table import print_result

FILE = "dreambench.json"
CONFIG = EvaluationConfig(seeds=(0, 1, 2, 3), num_inference_steps=50, guidance_scale=7.5, sampler="ddim")
"""Four samples a prompt. The paper names neither sampler nor guidance scale; these are the usual ones."""


def run_dreambench(
    data: Path,
    out: Path,
    overrides: Sequence[str],
    *,
    only: Sequence[str] = (),
    config: EvaluationConfig = CONFIG,
) -> dict[str, Any]:
    """Trains, draws and measures what is not done yet.

    Args:
        data: the dataset's folder.
        out: the benchmark's folder.
        overrides: settings of the runs, such as `model=sd15 hydra/launcher=slurm`.
        only: some of the subjects.
        config: seeds, steps, feature extractors; prompts and class nouns are those of the subjects.

    Returns:
        The content of `dreambench.json`.

    Raises:
        UserError: the dataset has another layout, the sweep could not start, or no run finished.
    """
    subjects = read_subjects(data, only)
    return evaluate_subjects(train_subjects(out, sweep_arguments(out, subjects, overrides)), out, subjects, config)


def plan_command(data: Path, out: Path, overrides: Sequence[str], *, only: Sequence[str] = ()) -> list[str]:
    """Returns the training command."""
    return training_command(out, sweep_arguments(out, read_subjects(data, only), overrides))


def evaluate_subjects(
    sweep: Path, out: Path, subjects: Sequence[DreamBenchSubject], config: EvaluationConfig
) -> dict[str, Any]:
    """Measures the embeddings of a sweep and writes `dreambench.json`: scores of each subject, and over all subjects.

    Raises:
        UserError: there is no embedding, or one of them cannot be measured.
    """
    by_token = {subject.placeholder_token: subject for subject in subjects}
    targets = [target for target in find_targets([sweep])[sweep] if target.token in by_token]
    if not targets:
        raise UserError(f"{sweep} has no embedding of any of the subjects. See the log.txt files of its runs.")
    evaluator, evaluated = Evaluator(), list[Evaluated]()
    for target in targets:
        subject = by_token[target.token]
        own = replace(config, prompts=subject.prompts, class_noun=subject.class_noun, images=subject.folder)
        result, is_new = evaluator.evaluate(target, own)
        print_result(target, result, is_new)
        evaluated.append((target, result))
    protocol = {
        "name": "DreamBench (arXiv 2208.12242)",
        "subjects": len(subjects),
        "samples": sum(len(subject.prompts) for subject in subjects) * len(config.seeds),
        "seeds": list(config.seeds),
        "num_inference_steps": config.num_inference_steps,
        "guidance_scale": config.guidance_scale,
        "sampler": config.sampler,
    }
    names = {token: subject.name for token, subject in by_token.items()}
    return write_summary(out / FILE, evaluated, names, protocol)
