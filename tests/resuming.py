"""A run that is interrupted and resumed, beside the same run without interruption."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.tiny import fit
from tinv.training.module import TextualInversion


class ResumedRun(NamedTuple):
    """The modules of both runs, and the checkpoint between."""

    uninterrupted: TextualInversion
    interrupted: TextualInversion
    resumed: TextualInversion
    checkpoint: Path

    def assert_equal(self) -> None:
        """Every exported vector and every tensor of the checkpoints is the same to the last bit."""
        for first, second in (
            (self.uninterrupted.state_dict(), self.resumed.state_dict()),
            (_flat(self.uninterrupted), _flat(self.resumed)),
        ):
            assert first.keys() == second.keys()
            assert all(torch.equal(value, second[name]) for name, value in first.items())


def run_and_resume(
    make: Callable[[], TextualInversion], data: Any, folder: Path, *, at: int, max_steps: int, **options: Any
) -> ResumedRun:
    """Train what `make` makes twice: without interruption, and resumed from a checkpoint.

    Args:
        make: returns a new module, the same one every time.
        data: its datamodule.
        folder: where the checkpoint is written.
        at: the step of the checkpoint.
        max_steps: the last step.
        options: of the trainer.
    """
    checkpoint = folder / "half.ckpt"
    run = ResumedRun(make(), make(), make(), checkpoint)
    fit(run.uninterrupted, data, max_steps, **options)
    fit(run.interrupted, data, at, **options).save_checkpoint(checkpoint)
    fit(run.resumed, data, max_steps, resume=checkpoint, **options)
    assert run.resumed.global_step == max_steps
    return run


def _flat(module: TextualInversion) -> dict[tuple[str, str], torch.Tensor]:
    return {(token, name): v for token, by_name in module.export_vectors().items() for name, v in by_name.items()}
