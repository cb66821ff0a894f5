"""The same training run, said to diffusers' script, to tinv, and to a bare loop.

A step is four samples everywhere: one vector, five pictures, mirrored at random, AdamW, the standard templates.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from bench.runner import ROOT, Command
from bench.subjects import Subject
from tinv.models.cpu_features import has_matmul

AS_SHIPPED = ("--train_batch_size=1", "--gradient_accumulation_steps=4")
"""As the script's own page says it."""
BEST = ("--train_batch_size=4", "--gradient_accumulation_steps=1")
BF16 = "--mixed_precision=bf16"
OURS = ("data.batch_size=4",)
"""On a CPU."""
OURS_BF16 = ("data.batch_size=4", "model.dtype=bfloat16")
PUBLISHED = ("data.batch_size=1", "trainer.accumulate_grad_batches=4")


def theirs(name: str, script: Path, subject: Subject, place: Path, *flags: str, steps: int) -> Command:
    """A command of diffusers' script.

    Args:
        name: of the row.
        script: textual_inversion.py, or textual_inversion_sdxl.py for SDXL.
        subject: what is trained on.
        place: where it writes.
        flags: beyond the common ones.
        steps: of the run.
    """
    words = (
        f"--pretrained_model_name_or_path={subject.model}",
        f"--train_data_dir={subject.pictures}",
        f"--output_dir={place}",
        f"--resolution={subject.resolution}",
        f"--max_train_steps={steps}",
        "--placeholder_token=<cat-toy>",
        "--initializer_token=toy",
        "--num_vectors=1",
        "--learning_rate=2e-3",
        "--lr_scheduler=constant",
        "--seed=0",
    )
    return Command(name, script.resolve(), (*words, *flags))


def ours(name: str, subject: Subject, place: Path, *overrides: str, steps: int) -> Command:
    """A command of tinv's: all that a run does, but for what the script has not: samples and `val/loss`."""
    return Command(name, ROOT / "train.py", settings(subject, place, overrides, steps=steps))


def bare(name: str, subject: Subject, place: Path, *overrides: str, steps: int) -> Command:
    """The same mathematics without Lightning, callbacks and loggers."""
    return Command(name, ROOT / "bench" / "bare.py", settings(subject, place, overrides, steps=steps))


def settings(subject: Subject, place: Path, overrides: Sequence[str], *, steps: int) -> tuple[str, ...]:
    """tinv's words for the common settings; the last ones win."""
    return (
        "model=local",
        f"model.pretrained={subject.model}",
        f"data.folder={subject.pictures}",
        f"data.resolution={subject.resolution}",
        "data.flip=true",
        "concept.placeholder_token='<cat-toy>'",
        "concept.initializer_token=toy",
        "optimizer.lr=2e-3",
        "optimizer.weight_decay=1e-2",
        "trainer.accelerator=auto",
        f"trainer.max_steps={steps}",
        "+trainer.limit_val_batches=0",
        "~callbacks.samples",
        "monitor=null",
        f"paths.root_dir={place}",
        *overrides,
    )


def has_gpu() -> bool:
    """Whether the rows that need a GPU can be filled."""
    return torch.cuda.is_available()


def has_bf16() -> bool:
    """Whether the rows in bfloat16 say anything: where it is emulated, a step takes ten times as long and more."""
    return has_gpu() or has_matmul("bfloat16")
