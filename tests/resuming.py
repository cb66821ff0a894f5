"""A run that is broken off and gone on with, beside the same run without a break."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.tiny import tiny_trainer
from tinv.data.datamodule import ConceptDataModule
from tinv.training.module import TextualInversion


class BrokenOff(NamedTuple):
    """What is left of both."""

    whole: TextualInversion
    halted: TextualInversion
    resumed: TextualInversion
    checkpoint: Path
    """Of the break."""


def broken_off(
    make: Callable[[], TextualInversion], data: ConceptDataModule, folder: Path, *, at: int, of: int, **options: Any
) -> BrokenOff:
    """Run twice what `make` makes: at once, and with a break.

    Args:
        make: a module at its start, the same one every time.
        data: what is shown.
        folder: where the checkpoint is put.
        at: the step of the break.
        of: the last step.
        options: of the trainer.
    """
    whole, halted, resumed = make(), make(), make()
    tiny_trainer(max_steps=of, **options).fit(whole, data)
    first = tiny_trainer(max_steps=at, **options)
    first.fit(halted, data)
    first.save_checkpoint(folder / "half.ckpt")
    tiny_trainer(max_steps=of, **options).fit(resumed, data, ckpt_path=folder / "half.ckpt", weights_only=True)
    assert resumed.global_step == of
    return BrokenOff(whole, halted, resumed, folder / "half.ckpt")
