"""What a file says of itself beside its vectors: our own texts, and the `modelspec` keys that other programs show.

The keys are those of the Stability AI model metadata standard, as kohya's trainers write them.
"""

from collections.abc import Mapping

from tinv.formats.learned_embedding import LearnedEmbedding

WORD = "placeholder_token"
"""Under this text the word stands in files whose tensors are not called by it."""
NEGATIVE, OF = "negative", "negative_of"
"""Under these texts a word names its negative, and that the word."""
_SPEC = "modelspec."
_COPIES = {"format", WORD, "string_to_token", "string_to_param"}
_FOR_PROVENANCE = {"step": "steps"}
_MAX_LENGTH = 2**12


def provenance_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """Where an embedding comes from, by the texts of its file: without what every writer adds by itself."""
    kept = {_FOR_PROVENANCE.get(key, key): text for key, text in metadata.items() if key not in _COPIES}
    return {key: text for key, text in kept.items() if len(text) <= _MAX_LENGTH}


def without_derived(learned: LearnedEmbedding) -> LearnedEmbedding:
    """The same without the `modelspec` texts that would be written again from the others."""
    own = {key: text for key, text in learned.provenance.items() if not key.startswith(_SPEC)}
    derived = modelspec(LearnedEmbedding(learned.placeholder_token, learned.vectors, own))
    kept = {key: text for key, text in learned.provenance.items() if derived.get(key) != text}
    return LearnedEmbedding(learned.placeholder_token, learned.vectors, kept)


def word_in(metadata: Mapping[str, str]) -> str | None:
    """The word that the texts of a file name, if they do."""
    if metadata.get(WORD):
        return metadata[WORD]
    for key in ("name", f"{_SPEC}trigger_phrase"):  # ai-toolkit keeps its texts as JSON
        text = metadata.get(key, "").strip('"')
        if text and not any(character.isspace() for character in text):
            return text
    return None


def texts_of(learned: LearnedEmbedding, *, names_word: bool) -> dict[str, str]:
    """The metadata of a safetensors file.

    Args:
        learned: what is written.
        names_word: whether the word must stand here, because the tensors do not bear it.
    """
    word = {WORD: learned.placeholder_token} if names_word else {}
    return {"format": "pt", **word, **modelspec(learned), **learned.provenance}


def modelspec(learned: LearnedEmbedding) -> dict[str, str]:
    """The standard keys, as far as the vectors and the provenance tell them."""
    told = learned.provenance
    prediction = {"epsilon": "epsilon", "v_prediction": "v"}.get(told.get("prediction_type", ""))
    architecture = _architecture({name: rows.shape[1] for name, rows in learned.vectors.items()}, prediction)
    size = told.get("resolution")
    keys = {
        "sai_model_spec": "1.0.1",
        "architecture": architecture and f"{architecture}/textual-inversion",
        "implementation": "https://github.com/Stability-AI/generative-models" if architecture else None,
        "title": learned.placeholder_token,
        "trigger_phrase": learned.placeholder_token,
        "resolution": size and f"{size}x{size}",
        "prediction_type": prediction,
        "date": told.get("date"),
        "license": told.get("license"),
        "is_negative_embedding": "true" if OF in told else None,
    }
    return {f"{_SPEC}{key}": text for key, text in keys.items() if text}


def _architecture(widths: Mapping[str, int], prediction: str | None) -> str | None:
    match dict(widths):
        case {"clip_l": 768, "clip_g": 1280, **others} if not others:
            return "stable-diffusion-xl-v1-base"
        case {"clip_l": 768, **others} if not others:
            return "stable-diffusion-v1"
        case {"clip_h": 1024, **others} if not others and prediction:
            return "stable-diffusion-v2-768-v" if prediction == "v" else "stable-diffusion-v2-512"
    return None
