"""What a checkpoint and the run that resumes from it must have in common."""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from tinv.config.secrets import hide
from tinv.data.images import format_names
from tinv.errors import UserError
from tinv.optim import inspect_factory
from tinv.token_parts import describe_parts

DATA = "data"
"""Key of the identity: the digests of the training data, by name."""


def checkpoint_identity(module: Any) -> dict[str, Any]:
    """Returns the settings that must not change between a checkpoint and a resumed run.

    Those of the optimizer are among them, because restoring a checkpoint would silently override new ones.

    Args:
        module: the LightningModule, attached to its trainer.
    """
    optimizer, settings = inspect_factory(module.optimizer)
    identity = {
        "placeholder_token": " ".join(token.placeholder_token for token in module.learned_tokens),
        "model": module.model.fingerprint,
        "model.quantization": module.model.quantization or None,
        "seed": module.seed,
        "optimizer": optimizer,
        **{f"optimizer.{name}": value for name, value in settings.items() if name != "lr"},
    }
    batches = module.effective_batches(module.trainer, module.trainer.datamodule)
    for token, batch in zip(module.learned_tokens, batches, strict=True):
        suffix = f" of {token.placeholder_token}" if token.name else ""
        negative = {
            f"{encoder}, negative": vectors_KD for encoder, vectors_KD in token.embedding.negative_weights.items()
        }
        vectors = {**token.embedding.weights, **negative}
        identity |= {
            f"vectors{suffix}": {encoder: list(vectors_KD.shape) for encoder, vectors_KD in vectors.items()},
            f"embedding.guidance_scale{suffix}": token.guidance_scale,
            f"vectors per part{suffix}": f"for {describe_parts(token.embedding.parts)}",
            f"embedding.ema{suffix}": token.config.ema,
            f"embedding.average_last{suffix}": token.config.average_last,
            f"learning rate{suffix}": batch.scaled_lr,
        }
    prefixes = [f"{token.name}/" if token.name else "" for token in module.learned_tokens]
    parts = zip(prefixes, module.trainer.datamodule.datamodules, strict=True)
    digests = {
        prefix + _public_name(name, value): value for prefix, part in parts for name, value in part.digests.items()
    }
    return {**identity, DATA: digests}


def check_identity(checkpoint: Mapping[str, Any] | None, run: Mapping[str, Any], *, accept_data: bool = False) -> None:
    """Checks that a run may resume from a checkpoint.

    Args:
        checkpoint: the identity in the checkpoint; None if it has none.
        run: the identity of this run.
        accept_data: warn about other training data, instead of raising.

    Raises:
        UserError: naming every difference.
    """
    if checkpoint is None:
        raise UserError("resume: this checkpoint was not written by tinv. Give one from a run's checkpoints folder.")
    if differences := identity_differences(checkpoint, run):
        raise UserError(
            f"resume: the checkpoint belongs to another run: {'; '.join(differences)}. "
            f"Restore these settings, or start a new run without resume."
        )
    if differences := list(data_differences(checkpoint.get(DATA) or {}, run[DATA])):
        problem = f"the training data is not that of the checkpoint: {'; '.join(differences)}"
        if not accept_data:
            remedy = "Restore the files, or set resume_data=accept to go on with the present ones."
            raise UserError(f"resume: {problem}. {remedy}")
        warnings.warn(f"resume_data=accept: {problem}.", stacklevel=2)


def identity_differences(checkpoint: Mapping[str, Any], run: Mapping[str, Any]) -> list[str]:
    """Returns a message for each difference; if the concepts differ, only for these."""
    before, now = checkpoint["placeholder_token"].split(), run["placeholder_token"].split()
    if len(before) == len(now) == 1 or sorted(before) == sorted(now):
        return [
            f"{key} was {checkpoint.get(key)!r} and is {value!r}"
            for key, value in run.items()
            if key != DATA and checkpoint.get(key) != value
        ]
    return [
        *(f"it does not contain {token}, which this run learns" for token in now if token not in before),
        *(f"it contains {token}, which this run does not learn" for token in before if token not in now),
    ]


def _public_name(name: str, digest: str) -> str:
    """Returns a file's name; one with a secret is masked and gets a digest, so that it differs from others."""
    public = hide(name)
    return name if public == name else f"{public} {digest[:12]}"


def data_differences(checkpoint: Mapping[str, str], run: Mapping[str, str]) -> Iterator[str]:
    """Yields which training data changed, which is missing and which is new."""
    for kind, names in {
        "changed": [name for name, digest in run.items() if checkpoint.get(name, digest) != digest],
        "missing": [name for name in checkpoint if name not in run],
        "new": [name for name in run if name not in checkpoint],
    }.items():
        if names:
            yield f"{kind}: {format_names(names)}"
