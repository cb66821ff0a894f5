"""Every check of a run that needs no model weights; all problems are reported at once."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from PIL import Image

from tinv.concept import Concept, names
from tinv.config.validate import ConfigError, build
from tinv.data.datamodule import ConceptDataModule
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError
from tinv.formats import PIPELINE
from tinv.models import ModelDescription, describe
from tinv.models.cpu_features import warn_of_emulation
from tinv.models.quantization import quantization_problems, resolve_quantization
from tinv.models.runtime import check_attention, check_loss_scale
from tinv.training.concept_task import ConceptTask, captions_with_tokens, find_conflicts
from tinv.training.initializer_search import find_clip
from tinv.training.regularizers import Regularizer
from tinv.training.try_optimizer import try_optimizer

TOYBOX = "pkg://tinv/toybox/pipeline"
MAX_TOY_IMAGE = 128
"""Shorter side in pixels; larger images were not drawn with the toybox."""
THUMBNAIL = 64
"""Pixels at which training images are opened, as the model's resolution is not known yet."""


def preflight(cfg: DictConfig) -> list[ConceptTask]:
    """Returns the tasks of a run, that of `concept` first, after everything is checked.

    Args:
        cfg: composed and checked settings.

    Raises:
        ConfigError: naming every problem.
    """
    problems = ProblemCollector()
    problems.add(*find_contradictions(cfg))
    nodes = {"": cfg, **{f"extra_concepts.{name}": node for name, node in cfg.extra_concepts.items()}}
    builders = [TaskBuilder(node, setting, problems) for setting, node in nodes.items()]
    model = {key: cfg.model[key] for key in ("pretrained", "revision", "tokenizer", "config") if key in cfg.model}
    description = problems.attempt(lambda: describe(**model))
    num_vectors = {b.concept.placeholder_token: b.embedding.num_vectors for b in builders if b.concept and b.embedding}
    regularizer = problems.attempt(lambda: build(cfg.regularizer))
    timestep_sampler = problems.attempt(lambda: build(cfg.timestep_sampler))
    loss = problems.attempt(lambda: build(cfg.loss))
    if description:
        problems.attempt(lambda: loss and loss.check(description.noise_process))
        problems.attempt(lambda: timestep_sampler and timestep_sampler.weights(description.noise_process))
        problems.attempt(lambda: check_attention(cfg.model.get("attention"), has_unet=description.family.has_unet))
        problems.add(*_quantization_problems(cfg, description))
    for builder in builders:
        builder.check(description, num_vectors, cfg.model.pretrained, regularizer)
    concepts = {f"{b.setting}.concept".lstrip("."): b.concept for b in builders if b.concept}
    problems.add(*find_conflicts(concepts))
    precision = {"dtype": cfg.model.get("dtype"), "precision": cfg.trainer.get("precision")}
    problems.attempt(lambda: check_loss_scale(**precision))
    problems.attempt(lambda: try_optimizer(cfg, {builder.setting: builder.embedding for builder in builders}))
    for builder in builders:
        builder.open_images()
    if cfg.hub.push and any(builder.embedding and builder.embedding.has_parts for builder in builders):
        problems.add(
            "hub.push=true: vectors per timestep or per layer cannot be published, because other programs load "
            "ordinary embeddings only. Set hub.push=false."
        )
    problems.attempt(lambda: build(cfg.hub).check(names([*concepts.values()])))
    tasks = [task for builder in builders if (task := builder.build())]
    problems.raise_any()
    warn_of_emulation(accelerator=cfg.trainer.get("accelerator"), **precision)
    _warn_of_shared_captions(tasks)
    if cfg.model.pretrained == TOYBOX:
        _warn_of_photographs(tasks)
    return tasks


def _quantization_problems(cfg: DictConfig, model: ModelDescription) -> Iterator[str]:
    """Yields a message for each setting that does not go with `model.quantization`."""
    try:
        quantization = resolve_quantization(cfg.model.get("quantization"), model.family)
    except UserError as error:
        yield str(error)
        return
    yield from quantization_problems(
        quantization,
        model.family,
        is_single_file=model.is_single_file,
        attention=cfg.model.get("attention"),
        compile=bool(cfg.model.get("compile")),
        device=_device_kind(cfg.trainer.get("accelerator")),
        precision=cfg.trainer.get("precision"),
    )
    if quantization and PIPELINE in ((cfg.callbacks.get("export") or {}).get("formats") or ()):
        yield (
            "callbacks.export.formats: pipeline needs plain weights, but model.quantization is set. Leave it out, and "
            "run tinv convert --to pipeline after training."
        )


def _device_kind(accelerator: str | None) -> str:
    """Returns the kind of device of Lightning's accelerator."""
    gpu = "mps" if torch.backends.mps.is_available() and not torch.cuda.is_available() else "cuda"
    if accelerator in (None, "auto"):
        return gpu if gpu == "mps" or torch.cuda.is_available() else "cpu"
    return gpu if accelerator == "gpu" else accelerator


def find_contradictions(cfg: DictConfig) -> Iterator[str]:
    """Yields a message for each setting that is out of range, or names a metric that the run does not measure."""
    if cfg.trainer.max_steps < 1:
        yield f"trainer.max_steps={cfg.trainer.max_steps}: must be 1 or more, it is the length of the run."
    if cfg.paths.cache_max_gb <= 0:
        yield (
            f"paths.cache_max_gb={cfg.paths.cache_max_gb}: must be above 0. To turn the cache off, set "
            f"paths.cache_dir=null."
        )
    measured = {
        "eval/": (cfg.callbacks.get("evaluation") or {}).get("every_n_steps") is not None,
        "early_stopping/": "stride" in cfg.early_stopping,
    }
    remedies = {"eval/": "callbacks.evaluation.every_n_steps=50", "early_stopping/": "early_stopping=dvar"}
    monitored = {f"{group}.monitor": cfg[group].get("monitor") for group in ("early_stopping", "keep")}
    for setting, metric in {"monitor": cfg.monitor, **monitored}.items():
        for prefix, is_measured in measured.items():
            if str(metric).startswith(prefix) and not is_measured:
                yield f"{setting}={metric}: this run does not measure it. Set {remedies[prefix]}."


class ProblemCollector:
    """Collects the messages of all errors, where a run would stop at the first."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, *messages: str) -> None:
        """Adds messages."""
        self.messages += messages

    def attempt(self, make: Callable[[], Any], setting: str = "") -> Any:
        """Returns what `make` returns, or None after a UserError, whose message is added behind the setting."""
        prefix = f"{setting}: " if setting else ""
        try:
            return make()
        except UserError as error:
            messages = error.problems if isinstance(error, ConfigError) else [str(error)]
            self.add(*(f"{prefix}{message}" for message in messages))
        return None

    def raise_any(self) -> None:
        """Raises a ConfigError with all messages, each once, if there are any."""
        if self.messages:
            raise ConfigError(dict.fromkeys(self.messages))


class TaskBuilder:
    """Builds and checks the parts of a ConceptTask; a part that cannot be built is None."""

    def __init__(self, node: DictConfig, setting: str, problems: ProblemCollector):
        """Args:
        node: has the groups `concept`, `data` and `embedding`.
        setting: where it is set: empty, or such as `extra_concepts.robot`.
        problems: collects the problems.
        """
        self.setting, self.lr = setting, node.get("lr")
        self._attempt: Callable[[Callable[[], Any]], Any] = partial(problems.attempt, setting=setting)
        self.concept: Concept | None = self._attempt(lambda: build(node.concept))
        self.embedding: EmbeddingConfig | None = self._attempt(lambda: build(node.embedding))
        self.data: ConceptDataModule | None = self._attempt(lambda: build(node.data)) if self.concept else None

    def check(
        self,
        model: ModelDescription | None,
        num_vectors: Mapping[str, int],
        pretrained: str,
        regularizer: Regularizer | None,
    ) -> None:
        """Checks the concept and its embedding against the model and the regularizer.

        Args:
            model: None if there is no such model.
            num_vectors: of each token of the run.
            pretrained: `model.pretrained`.
            regularizer: None if it could not be built.
        """
        concept, embedding = self.concept, self.embedding
        if not embedding:
            return
        if model:
            has_unet = model.family.has_unet
            self._attempt(partial(embedding.check_model, [*model.tokenizers], has_unet=has_unet))
        if embedding.init == "clip":
            self._attempt(lambda: find_clip(pretrained))
        if not concept:
            return
        captions = self.data.captions if self.data else {}
        others = {token: count for token, count in num_vectors.items() if token != concept.placeholder_token}
        if model:
            for role, tokenizer in model.tokenizers.items():
                if embedding.encoders is None or role in embedding.encoders:
                    limit = model.family.max_caption_tokens(tokenizer)
                    self._attempt(partial(embedding.check, concept, tokenizer, captions, others, max_tokens=limit))
        if regularizer:
            has_unet = model is None or model.family.has_unet
            self._attempt(partial(regularizer.check, concept, embedding, has_unet=has_unet))

    def open_images(self) -> None:
        """Opens every training image, cropped as in training."""
        if self.data:
            for path in self.data.images:
                self._attempt(partial(self.data.load_crops, path, resolution=THUMBNAIL))

    def build(self) -> ConceptTask | None:
        """Returns the task, or None if a part is missing."""
        if not (self.concept and self.data and self.embedding):
            return None
        parts: dict[str, Any] = {"concept": self.concept, "data": self.data, "embedding": self.embedding}
        task: ConceptTask | None = self._attempt(lambda: ConceptTask(**parts, lr=self.lr))
        return task


def _warn_of_photographs(tasks: list[ConceptTask]) -> None:
    for task in tasks:
        for path in task.data.images[:1]:
            with Image.open(path) as image:
                size = image.size
            if min(size) > MAX_TOY_IMAGE:
                warnings.warn(
                    f"model=toybox: draws toys of {THUMBNAIL} pixels only and cannot learn photographs, but "
                    f"{path.name} has {size[0]} x {size[1]} pixels. Set model=sd15 for images of your own.",
                    stacklevel=2,
                )


def _warn_of_shared_captions(tasks: list[ConceptTask]) -> None:
    for task in tasks:
        tokens = [other.concept.placeholder_token for other in tasks]
        for token, captions in captions_with_tokens(task, tokens).items():
            warnings.warn(
                f"data.captions: {len(captions)} captions of {task.concept.placeholder_token} contain {token} too, "
                f"which will learn from these images as well, for example {captions[0]!r}.",
                stacklevel=2,
            )
