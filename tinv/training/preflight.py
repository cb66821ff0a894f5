"""A run before it begins: its concepts, once everything is checked that can be without the model's weights."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from omegaconf import DictConfig

from tinv.concept import Concept, names
from tinv.config.validate import ConfigError, build
from tinv.data.datamodule import ConceptDataModule
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError
from tinv.models import load_tokenizers
from tinv.models.cpu_features import warn_of_emulation
from tinv.models.runtime import check_loss_scale
from tinv.rehearsal import try_optimizer
from tinv.training.concept_task import ConceptTask, borrowed, clashes
from tinv.training.initializer_search import find_clip
from tinv.training.regularizers import Regularizer

THUMBNAIL = 64
"""Pixels to which pictures are cut when they are only tried, before the model is there to say what it wants."""


def prepare(cfg: DictConfig) -> list[ConceptTask]:
    """The concepts of a run, its own first.

    Raises:
        ConfigError: naming every problem.
    """
    heard = ProblemCollector()
    if cfg.trainer.max_steps < 1:
        heard.problems.append(
            f"trainer.max_steps is the length of the run and must be 1 or more, got {cfg.trainer.max_steps}"
        )
    heard.problems += _unmeasured(cfg)
    if cfg.paths.cache_max_gb <= 0:
        heard.problems.append(
            f"paths.cache_max_gb must be above 0, got {cfg.paths.cache_max_gb}; paths.cache_dir=null keeps nothing"
        )
    drafts = [
        TaskBuilder.of(cfg, "", heard),
        *(TaskBuilder.of(n, f"extra_concepts.{name}", heard) for name, n in cfg.extra_concepts.items()),
    ]
    told = {key: cfg.model[key] for key in ("pretrained", "revision", "tokenizer", "config") if key in cfg.model}
    tokenizers = heard.attempt(lambda: load_tokenizers(**told)) or {}
    takes = {d.concept.placeholder_token: d.embedding.num_vectors for d in drafts if d.concept and d.embedding}
    for draft in drafts:
        for tokenizer in tokenizers.values():
            draft.ask(tokenizer, takes)
        if draft.embedding:
            heard.attempt(partial(draft.embedding.check_model, len(tokenizers)), draft.where)
    heard.problems += clashes({draft.at("concept"): draft.concept for draft in drafts if draft.concept})
    for draft in drafts:
        draft.ask_tower(cfg.model.pretrained)
    if regularizer := heard.attempt(lambda: build(cfg.regularizer)):
        for draft in drafts:
            draft.ask_regularizer(regularizer)
    numbers = {"dtype": cfg.model.get("dtype"), "precision": cfg.trainer.get("precision")}
    heard.attempt(lambda: check_loss_scale(**numbers))
    heard.attempt(lambda: try_optimizer(cfg, {draft.where: draft.embedding for draft in drafts}))
    for draft in drafts:
        draft.open_pictures()
    concepts = [draft.concept for draft in drafts if draft.concept]
    if cfg.hub.push and any(draft.embedding and draft.embedding.has_parts for draft in drafts):
        heard.problems.append(
            "hub.push=true: what is published are ordinary words that any pipeline loads, and this one has rows of its "
            "own for stages or layers; set hub.push=false"
        )
    heard.attempt(lambda: build(cfg.hub).check(names(concepts)))
    lessons = [lesson for draft in drafts for lesson in draft.lesson()]
    if heard.problems:
        raise ConfigError(dict.fromkeys(heard.problems))
    warn_of_emulation(accelerator=cfg.trainer.get("accelerator"), **numbers)
    _tell_of_borrowed_words(lessons)
    return lessons


def _unmeasured(cfg: DictConfig) -> Iterator[str]:
    """The numbers that are followed although nothing in the run measures them."""
    evaluation = cfg.callbacks.get("evaluation") or {}
    measures = {
        "eval/": (evaluation.get("every_n_steps") is not None, "set callbacks.evaluation.every_n_steps=50"),
        "early_stopping/": ("stride" in cfg.early_stopping, "take early_stopping=dvar"),
    }
    followed = {
        "monitor": cfg.monitor,
        **{f"{key}.monitor": cfg[key].get("monitor") for key in ("early_stopping", "keep")},
    }
    for setting, name in followed.items():
        for prefix, (is_measured, remedy) in measures.items():
            if str(name).startswith(prefix) and not is_measured:
                yield f"{setting}={name}: nothing in this run measures that; {remedy}"


class ProblemCollector:
    """Every objection, where a run would stop at the first."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def attempt(self, make: Callable[[], Any], where: str = "") -> Any:
        """What is made, or None; `where` is put before an objection."""
        before = f"{where}: " if where else ""
        try:
            return make()
        except ConfigError as error:
            self.problems += [f"{before}{problem}" for problem in error.problems]
        except UserError as error:
            self.problems.append(f"{before}{error}")
        return None


@dataclass(frozen=True)
class TaskBuilder:
    """The parts of a concept, as far as they can be built."""

    where: str
    """Empty, or `extra_concepts.robot`."""
    heard: ProblemCollector
    concept: Concept | None
    data: ConceptDataModule | None
    embedding: EmbeddingConfig | None
    lr: float | None

    @classmethod
    def of(cls, node: DictConfig, where: str, heard: ProblemCollector) -> "TaskBuilder":
        """What can be built of a node that has the groups `concept`, `data` and `embedding`."""
        concept, embedding = (heard.attempt(partial(build, node[key]), where) for key in ("concept", "embedding"))
        data = heard.attempt(partial(build, node.data), where) if concept else None
        return cls(where, heard, concept, data, embedding, node.get("lr"))

    def at(self, key: str) -> str:
        """The place of one of its groups."""
        return f"{self.where}.{key}" if self.where else key

    def ask(self, tokenizer: Any, takes: Mapping[str, int]) -> None:
        """Whether this can be learned; `takes` has how many tokens each of the run's words takes."""
        if self.concept and self.embedding:
            captions = self.data.captions if self.data else {}
            others = {word: count for word, count in takes.items() if word != self.concept.placeholder_token}
            check = partial(self.embedding.check, self.concept, tokenizer, captions, others)
            self.heard.attempt(check, self.where)

    def ask_tower(self, pretrained: str) -> None:
        """Whether there is something to choose its first word with."""
        if self.embedding and self.embedding.init == "clip":
            self.heard.attempt(partial(find_clip, pretrained), self.where)

    def ask_regularizer(self, regularizer: Regularizer) -> None:
        """Whether it goes with this."""
        if self.concept and self.embedding:
            self.heard.attempt(partial(regularizer.check, self.concept, self.embedding), self.where)

    def open_pictures(self) -> None:
        """Whether each can be shown."""
        if self.data:
            for path in self.data.images:
                self.heard.attempt(partial(self.data.load_crops, path, resolution=THUMBNAIL), self.where)

    def lesson(self) -> Iterator[ConceptTask]:
        """The whole, if no part is missing."""
        if self.concept and self.data and self.embedding:
            parts: dict[str, Any] = {
                "concept": self.concept,
                "data": self.data,
                "embedding": self.embedding,
                "lr": self.lr,
            }
            lesson = self.heard.attempt(lambda: ConceptTask(**parts), self.where)
            yield from [lesson] if lesson else []


def _tell_of_borrowed_words(lessons: list[ConceptTask]) -> None:
    for lesson in lessons:
        for word, texts in borrowed(lesson, [other.concept.placeholder_token for other in lessons]).items():
            warnings.warn(
                f"data.captions: {len(texts)} captions of {lesson.concept.placeholder_token} also say {word}, which learns "
                f"from its pictures, too, such as {texts[0]!r}",
                stacklevel=2,
            )
