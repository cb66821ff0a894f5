"""What decides the numbers of an evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinv.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is drawn and by what it is measured; None leaves a setting to the run, or to the usual value."""

    prompts: Sequence[str] | None = None
    """With `{}` for the word; None is those for a thing, or for a style."""
    seeds: Sequence[int] = (0, 1, 2, 3)
    """A picture of each prompt for each."""
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    sampler: str | None = None
    class_noun: str | None = None
    """The plain name of what the word is one of; None is the word that it was started from."""
    images: Path | None = None
    """What it was learned from; None is the run's own pictures."""
    feature_extractors: str | None = None
    """None is those that go with the model."""
    clip: str | None = None
    dino: str | None = None
    model: str | None = None
    config: str | None = None
    device: str | None = None
    batch_size: int = 8
    """Pictures drawn at once; only memory and speed depend on it."""

    def __post_init__(self) -> None:
        if not self.seeds:
            raise UserError("an evaluation needs a seed; --seeds 0-3 is usual")
        if self.batch_size < 1:
            raise UserError(f"--batch-size must be 1 or more, got {self.batch_size}")
        if self.prompts is not None and not self.prompts:
            raise UserError("an evaluation needs a prompt, such as 'a {} on the beach'")
        for prompt in self.prompts or ():
            if prompt.count("{}") != 1 or set("{}") & set(prompt.replace("{}", "")):
                raise UserError(f"the prompt {prompt!r} must have one {{}} for the word, and no other brace")
