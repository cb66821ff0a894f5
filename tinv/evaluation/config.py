"""The settings of an evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinv.errors import UserError


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is drawn, and what measures it. None means the value of the run, or else the default."""

    prompts: Sequence[str] | None = None
    """With `{}` for the token; None is the default prompts for an object or a style."""
    seeds: Sequence[int] = (0, 1, 2, 3)
    """Each prompt is drawn once with each seed."""
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    sampler: str | None = None
    class_noun: str | None = None
    """The class of the concept, e.g. `cat`; None is the initializer token."""
    images: Path | None = None
    """The folder of the training images; None is the run's."""
    feature_extractors: str | None = None
    """A preset; None is the one for the model."""
    clip: str | None = None
    dino: str | None = None
    model: str | None = None
    config: str | None = None
    device: str | None = None
    batch_size: int = 8
    """Samples drawn at once; it affects only memory and speed."""

    def __post_init__(self) -> None:
        if not self.seeds:
            raise UserError("--seeds is empty: an evaluation needs a seed. Give a range such as --seeds 0-3.")
        if self.batch_size < 1:
            raise UserError(f"--batch-size={self.batch_size}: must be 1 or more.")
        if self.prompts is not None and not self.prompts:
            raise UserError("--prompt is empty: an evaluation needs a prompt. Give one such as 'a {} on the beach'.")
        for prompt in self.prompts or ():
            if prompt.count("{}") != 1 or set("{}") & set(prompt.replace("{}", "")):
                raise UserError(f"--prompt={prompt!r}: must have one {{}} for the token, and no other brace.")
