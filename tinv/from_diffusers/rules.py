"""What the flags mean in tinv: a value and its command -> settings and notes.

Every rule says everything that its flag decides; what tinv does anyway is left out later, in `translate`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinv.from_diffusers.flag import Note, Pasted, Rule
from tinv.from_diffusers.overrides import assign

PRECISIONS = {"no": ("float32", "32-true"), "fp16": ("float16", "16-mixed"), "bf16": ("bfloat16", "32-true")}
"""Of the frozen weights, and of the trainer: only float16 needs its gradients scaled."""
SCHEDULERS = {
    "linear": "linear",
    "cosine": "cosine",
    "cosine_with_restarts": "cosine_restarts",
    "polynomial": "polynomial",
    "constant": "constant",
    "constant_with_warmup": "constant_warmup",
}
LOGGERS = {
    "tensorboard": "logger=tensorboard",
    "wandb": "logger=wandb",
    "all": "logger=[tensorboard,wandb]",
    "none": "logger=csv",
}


def nothing(value: Any, pasted: Pasted) -> Iterator[str]:
    """For flags that do nothing there, or are not needed here."""
    yield from ()


def to(key: str) -> Rule:
    """The same value under another name."""

    def rule(value: Any, pasted: Pasted) -> Iterator[str]:
        yield assign(key, value)

    return rule


def switch(setting: str) -> Rule:
    """A setting if the switch is on."""

    def rule(value: bool, pasted: Pasted) -> Iterator[str]:
        if value:
            yield setting

    return rule


def model(value: str, pasted: Pasted) -> Iterator[str]:
    """Its family is read from its files."""
    yield "model=local"
    yield assign("model.pretrained", value)


def kind(value: str, pasted: Pasted) -> Iterator[str]:
    """Exactly `style` is a style, there and here."""
    yield f"concept={'style' if value == 'style' else 'object'}"
    if value not in ("object", "style"):
        yield Note(f"{value!r} means object to the script, so it does here")


def placeholder_token(value: str, pasted: Pasted) -> Iterator[str]:
    """One word in lower case, as the tokenizer sees it in the end."""
    word = "".join(value.split()).lower().translate(str.maketrans("{}", "<>"))
    yield assign("concept.placeholder_token", word)
    if word != value:
        yield Note(f"{value!r} is written {word!r}: one word in lower case, as CLIP's tokenizer reads every prompt")


def fit(value: bool, pasted: Pasted) -> Iterator[str]:
    """The SDXL script squashes in any case; its users meant to crop."""
    yield f"data.fit={'crop' if value else 'squash'}"
    if value and pasted.script == "sdxl":
        yield Note("the SDXL script takes no notice of it and distorts; here it crops, data.fit=squash distorts")


def folder(value: str, pasted: Pasted) -> Iterator[str]:
    """The output folder's name names the run, the folder above it holds the runs."""
    place = Path(re.sub(r"[/\\]+$", "", value) or ".")
    name = re.sub(r"[^A-Za-z0-9._=-]+", "_", place.name).strip("._") or "untitled"
    yield assign("name", name)
    yield assign("paths.root_dir", place.parent.as_posix())


def accumulation(value: int, pasted: Pasted) -> Iterator[str]:
    """The trainer counts batches between two measurements of `val/loss`: 100 steps stay 100 steps."""
    yield assign("trainer.accumulate_grad_batches", value)
    yield assign("trainer.val_check_interval", 100 * value)


def initializer_token(value: str, pasted: Pasted) -> Iterator[str]:
    """One token; the multi-token script deals several out over the vectors."""
    yield assign("concept.initializer_token", value)
    if pasted.script == "multi_token":
        yield "embedding.init=phrase"


def seed(value: int | None, pasted: Pasted) -> Iterator[str]:
    """There is always one here."""
    if value is not None:
        yield assign("seed", value)


def scheduler(value: str, pasted: Pasted) -> Iterator[str]:
    """The Flax script's schedule is constant whatever it is told."""
    yield f"scheduler={'constant' if pasted.script == 'flax' else SCHEDULERS[value]}"


def warmup(value: int, pasted: Pasted) -> Iterator[str]:
    """Where there is one."""
    if pasted.script != "flax" and pasted.values["lr_scheduler"] != "constant":
        yield assign("scheduler.num_warmup_steps", value)


def cycles(value: int, pasted: Pasted) -> Iterator[str]:
    """Of the one schedule that has any."""
    if pasted.values["lr_scheduler"] == "cosine_with_restarts":
        yield assign("scheduler.num_cycles", value)


def betas(value: float, pasted: Pasted) -> Iterator[str]:
    """Both, for it is one setting."""
    yield assign("optimizer.betas", [pasted.values["adam_beta1"], pasted.values["adam_beta2"]])


def precision(value: str, pasted: Pasted) -> Iterator[str]:
    """Of the frozen weights; the learned rows are float32 in any case."""
    weights, arithmetic = PRECISIONS[value]
    yield f"model.dtype={weights}"
    yield f"trainer.precision={arithmetic}"


def board(value: str, pasted: Pasted) -> Iterator[str]:
    """metrics.csv is always there, too."""
    yield LOGGERS.get(value, "logger=csv")
    if value not in LOGGERS:
        yield Note(
            f"there is no {value} here; numbers go to metrics.csv, logger=tensorboard or logger=wandb add a board"
        )
    elif value in ("tensorboard", "all"):
        yield Note("tensorboard is an extra: pip install 'tinv[tensorboard]'")


def formats(value: bool, pasted: Pasted) -> Iterator[str]:
    """What three flags say together; the safetensors file is always written."""
    values = pasted.values
    has_pipeline = values.get("save_as_full_pipeline") or not values.get("only_save_embeds", True)
    others = {"diffusers_bin": values.get("no_safe_serialization"), "pipeline": has_pipeline}
    wanted = ",".join(["diffusers", *(name for name, is_wanted in others.items() if is_wanted)])
    yield f"callbacks.export.formats=[{wanted}]"


def prompt(value: str | None, pasted: Pasted) -> Iterator[str]:
    """Without a prompt the script draws nothing."""
    if value is None:
        yield "~callbacks.samples"
        yield Note("without it the script draws no pictures; leave out ~callbacks.samples to see the word change")
        return
    word = re.escape(pasted.values["placeholder_token"])
    yield assign("callbacks.samples.prompts", [re.sub(word, "{}", value, flags=re.IGNORECASE)])
    if pasted.script == "sdxl":
        yield "callbacks.samples.guidance_scale=5.0"


def pictures(value: int, pasted: Pasted) -> Iterator[str]:
    """As many seeds."""
    if pasted.values["validation_prompt"] is not None:
        yield assign("callbacks.samples.seeds", list(range(value)))


def every(value: int, pasted: Pasted) -> Iterator[str]:
    """How often, if there is a prompt."""
    if pasted.values["validation_prompt"] is not None:
        yield assign("callbacks.samples.every_n_steps", value)


def resume(value: str | None, pasted: Pasted) -> Iterator[str]:
    """`latest`, or the step in a checkpoint's name."""
    if value is None:
        return
    step = re.search(r"(\d+)[/\\]*$", value)
    if value == "latest" or step is None:
        yield "resume=latest"
    else:
        yield f"resume={int(step[1])}"
