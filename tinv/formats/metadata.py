"""The metadata of embedding files: our provenance, and the `modelspec` keys that other programs display.

The keys are those of the Stability AI model metadata standard, as kohya's trainers write them.
"""

from collections.abc import Mapping
from dataclasses import replace

from tinv.formats.learned_embedding import LearnedEmbedding

TOKEN_KEY = "placeholder_token"
"""Holds the token in files whose tensors have other names."""
NEGATIVE_KEY, NEGATIVE_OF_KEY = "negative", "negative_of"
"""With these keys an embedding names its negative, and a negative its embedding."""
ENCODER_KEY = "text_encoder"
"""Holds the role of the text encoder in diffusers' files, whose tensors are named after the token."""
_SPEC = "modelspec."
_IGNORED = {"format", TOKEN_KEY, ENCODER_KEY, "string_to_token", "string_to_param"}
_RENAMED = {"step": "steps"}
_MAX_LENGTH = 2**12


def read_provenance(metadata: Mapping[str, str]) -> dict[str, str]:
    """Returns the provenance in the metadata of a file, without the keys that every writer adds."""
    entries = {_RENAMED.get(key, key): text for key, text in metadata.items() if key not in _IGNORED}
    return {key: text for key, text in entries.items() if len(text) <= _MAX_LENGTH}


def drop_derived_keys(embedding: LearnedEmbedding) -> LearnedEmbedding:
    """Returns the embedding without the `modelspec` keys that a writer would derive again from the others."""
    own = {key: text for key, text in embedding.provenance.items() if not key.startswith(_SPEC)}
    derived = _build_modelspec(replace(embedding, provenance=own))
    remaining = {key: text for key, text in embedding.provenance.items() if derived.get(key) != text}
    return replace(embedding, provenance=remaining)


def find_token(metadata: Mapping[str, str]) -> str | None:
    """Returns the token that the metadata of a file names, or None."""
    if metadata.get(TOKEN_KEY):
        return metadata[TOKEN_KEY]
    for key in ("name", f"{_SPEC}trigger_phrase"):  # ai-toolkit writes its texts as JSON
        text = metadata.get(key, "").strip('"')
        if text and not any(character.isspace() for character in text):
            return text
    return None


def build_metadata(embedding: LearnedEmbedding, *, with_token: bool) -> dict[str, str]:
    """Returns the metadata of a safetensors file; `with_token` adds the token where no tensor has it as its name."""
    token = {TOKEN_KEY: embedding.placeholder_token} if with_token else {}
    return {"format": "pt", **token, **_build_modelspec(embedding), **embedding.provenance}


def _build_modelspec(embedding: LearnedEmbedding) -> dict[str, str]:
    """Returns the standard keys that the vectors and the provenance determine."""
    provenance = embedding.provenance
    prediction = {"epsilon": "epsilon", "v_prediction": "v"}.get(provenance.get("prediction_type", ""))
    widths = {name: vectors_KD.shape[1] for name, vectors_KD in embedding.vectors.items()}
    architecture = None if provenance.get("prediction_type") == "flow" else _architecture(widths, prediction)
    size = provenance.get("resolution")
    keys = {
        "sai_model_spec": "1.0.1",
        "architecture": architecture and f"{architecture}/textual-inversion",
        "implementation": "https://github.com/Stability-AI/generative-models" if architecture else None,
        "title": embedding.placeholder_token,
        "trigger_phrase": embedding.placeholder_token,
        "resolution": size and f"{size}x{size}",
        "prediction_type": prediction,
        "date": provenance.get("date"),
        "license": provenance.get("license"),
        "is_negative_embedding": "true" if NEGATIVE_OF_KEY in provenance else None,
    }
    return {f"{_SPEC}{key}": text for key, text in keys.items() if text}


def _architecture(widths: dict[str, int], prediction: str | None) -> str | None:
    if widths == {"clip_l": 768, "clip_g": 1280}:
        return "stable-diffusion-xl-v1-base"
    if widths == {"clip_l": 768}:
        return "stable-diffusion-v1"
    if widths == {"clip_h": 1024} and prediction:
        return "stable-diffusion-v2-768-v" if prediction == "v" else "stable-diffusion-v2-512"
    return None
