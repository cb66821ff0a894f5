"""The word that a concept starts from, where the pictures are to choose it: `embedding.init=clip`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tinv.data.images import open_image
from tinv.errors import UserError
from tinv.evaluation.metrics.clip import Clip
from tinv.evaluation.metrics.feature_extractors import towers_for
from tinv.evaluation.metrics.word_ranking import at_work, ranked, whole_words
from tinv.hub.locate import FeatureExtractorFiles, locate_feature_extractor
from tinv.training.concept_task import ConceptTask

TOWERS = {
    "toybox": "pkg://tinv/toybox/clip",
    "clip": "openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41",
}
"""The toybox's own, and the one whose text tower Stable Diffusion 1 and, as its first, XL has."""


def find_clip(pretrained: str) -> FeatureExtractorFiles:
    """The CLIP that ranks words for a model.

    Args:
        pretrained: `model.pretrained`.

    Raises:
        UserError: it is neither here nor to be had.
    """
    try:
        return locate_feature_extractor(TOWERS[towers_for(pretrained)])
    except UserError as error:
        raise UserError(f"embedding.init=clip: {error}; or take embedding.init=word") from error


def resolve_initializer(
    lesson: ConceptTask, pretrained: str, tokenizers: Mapping[str, Any]
) -> tuple[ConceptTask, str | None]:
    """The lesson with a word to start from, and what there is to say about it.

    With `init=clip` that is the word which a CLIP finds the likest to the pictures; from there on it is as if that had
    been `concept.initializer_token`.

    Args:
        lesson: as it is set.
        pretrained: `model.pretrained`.
        tokenizers: of the model; all have the same words.

    Raises:
        UserError: there is no CLIP.
    """
    if lesson.embedding.init != "clip":
        return lesson, None
    crop_config = lesson.data.concept_images.crop_config
    pictures = [open_image(path, background=crop_config.background)[0] for path in lesson.data.images]
    clip = at_work(Clip.load(find_clip(pretrained).folder))
    words = lesson.embedding.init_words or whole_words(next(iter(tokenizers.values())))
    (best, cosine), *rest = ranked(clip, pictures, words, kind=lesson.concept.kind)
    others = ", ".join(f"{word} ({image_similarity:.3f})" for word, image_similarity in rest[:3]) or "no other"
    concept = replace(lesson.concept, initializer_token=best)
    embedding = replace(lesson.embedding, init="word", init_words=None)
    said = f"{concept.placeholder_token}: starts from {best!r} ({cosine:.3f}), before {others}"
    return replace(lesson, concept=concept, embedding=embedding), said
