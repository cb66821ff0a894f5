"""Chooses the initializer token from the training images, for `embedding.init=clip`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tinv.data.images import open_image
from tinv.errors import UserError
from tinv.evaluation.metrics.clip import Clip
from tinv.evaluation.metrics.feature_extractors import default_preset
from tinv.evaluation.metrics.word_ranking import rank_words, vocabulary_words
from tinv.hub.locate import FeatureExtractorFiles, locate_feature_extractor
from tinv.training.concept_task import ConceptTask

CLIP_MODELS = {
    "toybox": "pkg://tinv/toybox/clip",
    "clip": "openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41",
}
"""The toybox's CLIP, and the CLIP whose text encoder is that of Stable Diffusion 1 and the first of SDXL."""


def find_clip(pretrained: str) -> FeatureExtractorFiles:
    """Returns the files of the CLIP that ranks words for a model, downloaded if necessary.

    Args:
        pretrained: `model.pretrained`.

    Raises:
        UserError: they are neither on this machine nor on the Hub.
    """
    try:
        return locate_feature_extractor(CLIP_MODELS[default_preset(pretrained)])
    except UserError as error:
        raise UserError(f"embedding.init=clip: {error} Or set embedding.init=word.") from error


def resolve_initializer(
    task: ConceptTask, pretrained: str, tokenizers: Mapping[str, Any]
) -> tuple[ConceptTask, str | None]:
    """Returns the task with its initializer token, and a message about the choice.

    With `init=clip` the token is the word with the highest mean CLIP similarity to the training images (Voronov et al.
    2023, arXiv 2302.04841). From then on the run is the one that `concept.initializer_token` with this word gives.

    Args:
        task: as configured.
        pretrained: `model.pretrained`.
        tokenizers: of the model; all have the same vocabulary.

    Raises:
        UserError: there is no CLIP.
    """
    if task.embedding.init != "clip":
        return task, None
    background = task.data.concept_images.crop_config.background
    images = [open_image(path, background=background)[0] for path in task.data.images]
    clip = Clip.load(find_clip(pretrained).folder)
    words = task.embedding.init_words or vocabulary_words(next(iter(tokenizers.values())))
    (best, similarity), *others = rank_words(clip, images, words, kind=task.concept.kind)
    concept = replace(task.concept, initializer_token=best)
    embedding = replace(task.embedding, init="word", init_words=None)
    message = f"{concept.placeholder_token}: initializer_token={best!r} (CLIP similarity {similarity:.3f})"
    if others:
        message += f"; next best: {', '.join(f'{word} ({cosine:.3f})' for word, cosine in others[:3])}"
    return replace(task, concept=concept, embedding=embedding), message
