"""Requests to a run: what it can be asked, and the files in which it reads them.

`requests/<id>.json` in the run folder is a request that the run has not read yet; `requests/answered/<id>.json` has it
with its answer. Any process that can write the folder may send one, on any machine that mounts it.
"""

import json
import os
import re
import stat
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path

from tinv.errors import UserError, did_you_mean
from tinv.runs.layout import ANSWERED, REQUESTS
from tinv.runs.typed import to_type

ACTIONS = ("sample", "checkpoint", "export", "extend", "stop")
PENDING, ACCEPTED, DONE, REFUSED, FAILED = "pending", "accepted", "done", "refused", "failed"
MAX_BYTES = 256 * 1024
"""Of a file with a request."""
MAX_PROMPT, MAX_IMAGES, MAX_SAMPLER_STEPS, MAX_STEPS = 1000, 64, 1000, 10_000_000
_ARGUMENTS = {
    "sample": ("prompts", "seeds", "num_inference_steps", "guidance_scale", "negative_prompt"),
    "export": ("format",),
    "extend": ("steps",),
    "stop": ("discard",),
}
_ID = re.compile(r"\d{8}T\d{12}-[0-9a-f]{8}")
_SLOT = re.compile(r"\{[\w-]*\}")


@dataclass(frozen=True)
class Request:
    """What a run should do."""

    action: str
    """One of `ACTIONS`."""
    prompts: list[str] = field(default_factory=list)
    """Of `sample`: `{}` is the placeholder token, `{0}` or `{cat-toy}` one of several. Empty: those of the run."""
    seeds: list[int] = field(default_factory=list)
    """Of `sample`: each prompt is sampled once per seed. Empty: those of the run."""
    num_inference_steps: int | None = None
    """Of `sample`: None is that of the run, as for the next two."""
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    format: str | None = None
    """Of `export`: an embedding format; None is `diffusers`."""
    steps: int | None = None
    """Of `extend`: further optimizer steps."""
    discard: bool = False
    """Of `stop`: remove the checkpoints and the result."""

    def __post_init__(self) -> None:
        """Raises UserError if a value is out of range, or belongs to another action."""
        if self.action not in ACTIONS:
            raise UserError(f"{self.action[:40]!r} is no request{did_you_mean(self.action[:40], ACTIONS)}.")
        for argument in fields(self)[1:]:
            default = argument.default if argument.default is not MISSING else []
            if argument.name not in _ARGUMENTS.get(self.action, ()) and getattr(self, argument.name) != default:
                raise UserError(f"{self.action}: takes no {argument.name}.")
        if self.action == "extend":
            _require_range("extend", self.steps or 0, 1, MAX_STEPS)
        if self.format is not None and not re.fullmatch(r"[a-z0-9_]{1,32}", self.format):
            raise UserError(f"export: {self.format[:40]!r} is no format.")
        self._check_sample()

    def _check_sample(self) -> None:
        for text in (*self.prompts, self.negative_prompt or ""):
            if len(text) > MAX_PROMPT or not text.isprintable():
                raise UserError(f"sample: a prompt has up to {MAX_PROMPT} printable characters, not {text[:40]!r} ...")
        for prompt in self.prompts:
            if set("{}") & set(_SLOT.sub("", prompt)):
                raise UserError(f"sample: {prompt[:80]!r} has a stray brace. Write {{}} for the token.")
        for seed in self.seeds:
            _require_range("sample: seed", seed, 0, 2**63 - 1)
        _require_range(
            "sample: the number of images", max(1, len(self.prompts)) * max(1, len(self.seeds)), 1, MAX_IMAGES
        )
        if self.num_inference_steps is not None:
            _require_range("sample: num_inference_steps", self.num_inference_steps, 1, MAX_SAMPLER_STEPS)
        if self.guidance_scale is not None:
            _require_range("sample: guidance_scale", self.guidance_scale, 0, 1000)

    def __str__(self) -> str:
        """Returns the request as `tinv tell` takes it."""
        if self.action == "extend":
            return f"extend={self.steps}"
        options = [f'--prompt "{prompt}"' for prompt in self.prompts]
        options += [f"--seed {','.join(map(str, self.seeds))}"] if self.seeds else []
        options += [f"--to {self.format}"] if self.format else []
        options += ["--discard"] if self.discard else []
        return " ".join([self.action, *options])


@dataclass(frozen=True)
class SentRequest:
    """The content of a file with a request."""

    request: Request
    sent_at: str
    """In TIME_FORMAT."""
    session: str = ""
    """The run's session that it was sent to, as `session_name` returns it; empty if none was running."""


@dataclass(frozen=True)
class Answer:
    """A request with its answer."""

    id: str
    request: Request
    state: str = PENDING
    """`pending`: not read yet; `accepted`: the run is at it; `done`, `refused`, `failed`."""
    message: str = ""
    """What was done, or why not."""
    step: int | None = None
    """The number of optimizer steps after which it was answered."""
    files: list[str] = field(default_factory=list)
    """The files that were written, relative to the run folder."""
    sent_at: str = ""
    """In TIME_FORMAT, as the next one."""
    answered_at: str = ""

    @property
    def is_final(self) -> bool:
        """Whether the run has nothing more to say."""
        return self.state in (DONE, REFUSED, FAILED)

    def to_json(self) -> dict[str, object]:
        """Returns what its file contains."""
        return asdict(self)


def request_path(run_dir: Path | str, id: str) -> Path:
    """Returns the path of a request that the run has not read yet.

    Raises:
        UserError: the id cannot be one.
    """
    if not is_request_id(id):
        raise UserError(f"{id[:40]!r} is no id of a request.")
    return Path(run_dir) / REQUESTS / f"{id}.json"


def answer_path(run_dir: Path | str, id: str) -> Path:
    """Returns the path of a request with its answer."""
    path = request_path(run_dir, id)
    return path.parent / ANSWERED / path.name


def is_request_id(text: str) -> bool:
    """Whether a text is the id of a request, which contains the time at which it was sent."""
    return bool(_ID.fullmatch(text))


def read_request(path: Path) -> SentRequest:
    """Returns the content of a request's file.

    Raises:
        OSError: the file cannot be read.
        ValueError: says what is wrong with it.
    """
    return to_type(SentRequest, _read_json(path))


def read_answer(run_dir: Path | str, id: str) -> Answer:
    """Returns a request with its answer, also while it has none.

    Raises:
        UserError: there is no such request, or its file is damaged.
    """
    answered, pending = answer_path(run_dir, id), request_path(run_dir, id)
    for path in (answered, pending, answered):  # it may be answered meanwhile
        try:
            if path is answered:
                return to_type(Answer, _read_json(path))
            sent = read_request(path)
            return Answer(id, sent.request, sent_at=sent.sent_at)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} is damaged ({error})") from error
    raise UserError(f"{run_dir}: there is no request {id}.")


def list_answers(run_dir: Path | str) -> list[Answer]:
    """Returns all requests to a run with their answers, oldest first; leaves out damaged files."""
    folder = Path(run_dir) / REQUESTS
    ids = {path.stem for path in [*folder.glob("*.json"), *(folder / ANSWERED).glob("*.json")]}
    answers = []
    for id in sorted(filter(is_request_id, ids)):
        try:
            answers.append(read_answer(run_dir, id))
        except UserError:
            continue
    return answers


def _read_json(path: Path) -> object:
    """Returns the content of a regular file; does not follow links, and does not wait for a pipe."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no regular file")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    return json.loads(content.decode("utf-8"))


def _require_range(name: str, value: float, minimum: int, maximum: int) -> None:
    if not minimum <= value <= maximum:
        raise UserError(f"{name}={value}: must be from {minimum} to {maximum}.")
