"""The same training run as a command of diffusers' script, of tinv, and of a bare loop.

A step has four samples in each: one vector, five images, mirrored at random, AdamW, the standard templates.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from bench.runner import ROOT, Command
from bench.subjects import Subject
from tinv.models.cpu_features import has_matmul

DEFAULT_FLAGS = ("--train_batch_size=1", "--gradient_accumulation_steps=4")
"""The flags of the script's documentation."""
BEST_FLAGS = ("--train_batch_size=4", "--gradient_accumulation_steps=1")
BF16 = "--mixed_precision=bf16"
OURS = ("data.batch_size=4",)
"""On a CPU."""
OURS_BF16 = ("data.batch_size=4", "model.dtype=bfloat16")
MICRO_BATCHES = ("data.batch_size=1", "trainer.accumulate_grad_batches=4")


def script_command(name: str, script: Path, subject: Subject, folder: Path, *flags: str, steps: int) -> Command:
    """A command of diffusers' script.

    Args:
        name: of the row.
        script: textual_inversion.py, or textual_inversion_sdxl.py for SDXL.
        subject: the model and the training images.
        folder: its output folder.
        flags: in addition to the common ones.
        steps: of the run.
    """
    words = (
        f"--pretrained_model_name_or_path={subject.model}",
        f"--train_data_dir={subject.images}",
        f"--output_dir={folder}",
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


def tinv_command(name: str, subject: Subject, folder: Path, *overrides: str, steps: int) -> Command:
    """A command of tinv: a complete run without samples and `val/loss`, which the script does not compute."""
    return Command(name, ROOT / "train.py", settings(subject, folder, overrides, steps=steps))


def bare_loop_command(name: str, subject: Subject, folder: Path, *overrides: str, steps: int) -> Command:
    """The same computation without Lightning, callbacks and loggers."""
    return Command(name, ROOT / "bench" / "bare.py", settings(subject, folder, overrides, steps=steps))


def settings(subject: Subject, folder: Path, overrides: Sequence[str], *, steps: int) -> tuple[str, ...]:
    """tinv's overrides of the common settings; `overrides` come last and win."""
    return (
        "model=local",
        f"model.pretrained={subject.model}",
        f"data.folder={subject.images}",
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
        f"paths.root_dir={folder}",
        *overrides,
    )


def has_gpu() -> bool:
    """Whether this machine can measure the rows that need a GPU."""
    return torch.cuda.is_available()


def has_bf16() -> bool:
    """Whether bfloat16 is native here: emulated, a step takes more than ten times as long."""
    return has_gpu() or has_matmul("bfloat16")
