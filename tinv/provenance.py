"""Where a learned word comes from, as its file says."""

from tinv import __version__
from tinv.hub.licenses import license_of
from tinv.models import LatentDiffusion


def provenance(model: LatentDiffusion, *, steps: int, seed: int) -> dict[str, str]:
    """What is known of the model that a word was learned with, and of the run.

    Args:
        model: frozen.
        steps: optimizer steps that were made.
        seed: of the run.
    """
    always = {
        "base_model": model.name,
        "fingerprint": model.fingerprint,
        "prediction_type": model.schedule.prediction_type,
        "steps": str(steps),
        "seed": str(seed),
        "tinv_version": __version__,
    }
    if_known = {"base_revision": model.revision, "base_license": license_of(model.name)}
    return always | {key: text for key, text in if_known.items() if text}
