"""Whose checkpoint it is: in what that of another run differs from this one."""

from collections.abc import Mapping
from typing import Any

from tinv.errors import UserError
from tinv.optim import inspect_factory
from tinv.token_parts import describe_parts


def checkpoint_identity(module: Any) -> dict[str, Any]:
    """What a run that goes on must have in common with its checkpoint.

    The optimizer's settings are among it because a checkpoint brings its own: others would pass unheard.

    Args:
        module: the LightningModule, with its trainer.
    """
    optimizer, settings = inspect_factory(module.optimizer)
    common = {
        "placeholder_token": " ".join(word.placeholder_token for word in module.learned_tokens),
        "model": module.model.fingerprint,
        "seed": module.seed,
        "optimizer": optimizer,
        **{f"optimizer.{name}": value for name, value in settings.items() if name != "lr"},
    }
    paces = module.paces(module.trainer, module.trainer.datamodule)
    for word, pace in zip(module.learned_tokens, paces, strict=True):
        of = f" of {word.placeholder_token}" if word.name else ""
        rows = dict(word.embedding.weights.items())
        rows |= {f"{encoder}, negative": rows_KD for encoder, rows_KD in word.embedding.negative_weights.items()}
        common |= {
            f"vectors{of}": {encoder: list(rows_KD.shape) for encoder, rows_KD in rows.items()},
            f"embedding.guidance_scale{of}": word.guidance,
            f"rows{of}": f"for {describe_parts(word.embedding.parts)}",
            **{f"{setting}{of}": value for setting, value in word.averages.items()},
            f"learning rate{of}": pace.scaled_lr,
        }
    return common


def check_identity(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> None:
    """Refuse to go on from a checkpoint of something else.

    Args:
        before: `identity` as the checkpoint has it.
        now: as this run has it.

    Raises:
        UserError: naming every difference.
    """
    if before is None:
        raise UserError("resume: this checkpoint was not written by tinv; give one from a run's checkpoints folder")
    if found := differences(before, now):
        raise UserError(
            f"resume: the checkpoint belongs to another run: {'; '.join(found)}; "
            f"set these as they were, or start anew without resume"
        )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what a checkpoint is of another run; first of all, which concepts it lacks, or has besides."""
    theirs, ours = before["placeholder_token"].split(), now["placeholder_token"].split()
    if len(theirs) == len(ours) == 1 or sorted(theirs) == sorted(ours):
        before = {
            **now,
            "embedding.ema": 0.0,
            "embedding.average_last": 0.0,
            **before,
        }  # what older checkpoints do not say
        return [f"{key} was {before[key]!r} and is {now[key]!r}" for key in now if before[key] != now[key]]
    return [
        *(f"it knows nothing of {word}, which is learned now" for word in ours if word not in theirs),
        *(f"it learned {word}, too, which is not learned now" for word in theirs if word not in ours),
    ]
