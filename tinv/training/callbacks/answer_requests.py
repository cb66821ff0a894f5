"""Answers the requests of `tinv tell` between two optimizer steps."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

from lightning.pytorch import Callback, Trainer

from tinv.errors import RunDiscarded, UserError, error_message, require_minimum
from tinv.formats import FORMATS
from tinv.inference.generate import fill_prompt
from tinv.runs.files import write_atomically
from tinv.runs.image_grid import save_grid
from tinv.runs.layout import checkpoint_path, requested_samples_path
from tinv.runs.reader import RunReader
from tinv.runs.record_status import set_reason
from tinv.runs.request_inbox import RequestInbox
from tinv.runs.requests import ACCEPTED, DONE, FAILED, REFUSED, Answer, Request
from tinv.runs.send_request import continue_command, session_name
from tinv.training.callbacks.checkpoints import Checkpoints
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.callbacks.export import Export
from tinv.training.callbacks.logging import log_image
from tinv.training.callbacks.samples import Samples
from tinv.training.callbacks.timing import Stopwatch
from tinv.training.discard import discard_result
from tinv.training.extension import ADDED_STEPS, extend_run, restore_extension

_STOP = "stopped on request"


class AnswerRequests(Callback):
    """Samples, saves, exports, extends or stops a run on request, without a change of what it learns.

    The first process looks into the run folder every few seconds. All processes then answer at the same step.
    """

    def __init__(self, dir: Path | str, every_s: float = 2.0):
        """every_s: seconds between two looks into the folder."""
        require_minimum("callbacks.requests.every_s", every_s, 0)
        self.run_dir, self.every_s, self.stopwatch = Path(dir), every_s, Stopwatch()
        self.run_card_entry: dict[str, Any] = {}
        """The step at which the run was stopped on request, for the run card."""
        self._every = EveryNSteps(1, setting="callbacks.requests")
        self._inbox: RequestInbox | None = None
        self._last_time, self._last_step, self._next_step = 0.0, 0, 0
        self._stop_answers: list[Answer] = []
        self._is_discarded, self._added_steps = False, 0

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Adds the extension of the run, which a resume keeps."""
        if self._added_steps:
            checkpoint[ADDED_STEPS] = {"max_steps": trainer.max_steps, "added": self._added_steps}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Extends a resumed run as the checkpoint says, unless its number of steps was changed since."""
        self._added_steps = restore_extension(trainer, pl_module, checkpoint.get(ADDED_STEPS))

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Starts to look into the folder."""
        self._every.reset(trainer.global_step)
        self._last_time, self._last_step, self._next_step = monotonic() - self.every_s, trainer.global_step, 0
        if trainer.is_global_zero:
            status = RunReader(self.run_dir).status
            self._inbox = RequestInbox(self.run_dir, session_name(status) if status else "")

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Answers, if it is time to look into the folder; in any case after the last step."""
        if self._every.is_due(trainer.global_step) and self._is_due(trainer):
            for request in self._poll(trainer):
                self._answer(trainer, pl_module, request)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Ends a discarded run when the loggers have received the metrics of the last step."""
        self._end_discarded(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Ends a discarded run that has made its last step."""
        self._end_discarded(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Records that the run was stopped, and refuses what came too late."""
        if not trainer.is_global_zero:
            return
        if self.run_card_entry:
            reason = f"{_STOP} at step {trainer.global_step} of {trainer.max_steps}"
            set_reason(self.run_dir, reason)
            print(reason, flush=True)
        self._finish(trainer, "The run has ended.", DONE, "The result is exported as at the end of a complete run.")

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Removes the result of a discarded run, and refuses what was not answered."""
        if isinstance(exception, RunDiscarded) and trainer.is_global_zero:
            removed = discard_result(self.run_dir, pl_module.learned_embeddings())
            message = f"Removed: {', '.join(removed) or 'nothing'}. The logs, samples and settings remain."
            print(message, flush=True)
            self._finish(trainer, "The run was discarded.", DONE, message)
        elif trainer.is_global_zero:
            reason = f"The run has ended: {error_message(exception)}."
            self._finish(trainer, reason, FAILED, reason)

    def _is_due(self, trainer: Trainer) -> bool:
        """Whether to look now. Several processes count steps, because they must agree without communication."""
        if trainer.world_size > 1:
            is_due = trainer.global_step >= self._next_step
        else:
            is_due = monotonic() >= self._last_time + self.every_s
        return is_due or trainer.global_step >= trainer.max_steps

    def _poll(self, trainer: Trainer) -> list[Answer]:
        """Returns the new requests on every process."""
        accepted = self._inbox.poll() if self._inbox else []
        now, steps = monotonic(), trainer.global_step - self._last_step
        if trainer.world_size > 1:
            rate = steps / max(now - self._last_time, 1e-6)
            accepted, wait = trainer.strategy.broadcast((accepted, min(1000, max(1, round(rate * self.every_s)))))
            self._next_step = trainer.global_step + wait
        self._last_time, self._last_step = now, trainer.global_step
        return accepted

    def _answer(self, trainer: Trainer, pl_module: Any, answer: Answer) -> None:
        """Does what is asked, and writes the answer. An error is an answer."""
        actions: dict[str, Callable[..., tuple[str, list[Path]]]] = {
            "sample": self._sample,
            "checkpoint": self._save,
            "export": self._export,
            "extend": self._extend,
            "stop": self._stop,
        }
        state, files = DONE, list[Path]()
        try:
            message, files = actions[answer.request.action](trainer, pl_module, answer.request)
            if answer.request.action == "stop":
                state = ACCEPTED
        except UserError as error:
            state, message = REFUSED, str(error)
        except Exception as error:
            if trainer.world_size > 1 and answer.request.action in ("checkpoint", "extend"):
                raise  # the processes would no longer be at the same step
            state, message = FAILED, error_message(error)
        names = [path.relative_to(self.run_dir).as_posix() for path in files]
        answer = replace(answer, state=state, message=message, step=trainer.global_step, files=names)
        if state == ACCEPTED:
            self._stop_answers.append(answer)
        if self._inbox:
            print(f"{answer.request}: {message}", flush=True)
            self._inbox.write(answer)

    def _sample(self, trainer: Trainer, pl_module: Any, request: Request) -> tuple[str, list[Path]]:
        """Draws a sheet of samples."""
        if not trainer.is_global_zero:
            return "", []
        callback = _find(trainer, Samples) or Samples(self.run_dir, ["a photo of a {}"], [0])
        tokens = [token.placeholder_token for token in pl_module.learned_tokens]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a prompt without the token is a comparison
            prompts = [fill_prompt(prompt, tokens) for prompt in request.prompts]
        prompts = prompts or [prompt.replace("{}", token) for token in tokens for prompt in callback.prompts]
        names = ("num_inference_steps", "guidance_scale", "negative_prompt")
        options = {name: value for name in names if (value := getattr(request, name)) is not None}
        drawn = callback.draw_sheet(trainer, pl_module, prompts, request.seeds or callback.seeds, **options)
        step = trainer.global_step
        paths = (requested_samples_path(self.run_dir, step, number) for number in count(1))
        path = next(path for path in paths if not path.exists())
        with self.stopwatch("saving"), write_atomically(path) as temporary:
            save_grid(drawn.image, temporary)
        log_image(trainer, "requested_samples", drawn.image)
        problems = [f"{drawn.num_black} are black"] * (drawn.num_black > 0)
        problems += [f"{drawn.num_nonfinite} are not finite"] * (drawn.num_nonfinite > 0)
        images = len(prompts) * len(request.seeds or callback.seeds)
        return f"Drew {images} images after step {step}{''.join(f'; {text}' for text in problems)}.", [path]

    def _save(self, trainer: Trainer, pl_module: Any, request: Request) -> tuple[str, list[Path]]:
        """Writes a checkpoint."""
        _require(trainer, Checkpoints, "checkpoints").save(trainer)
        return f"Saved step {trainer.global_step}.", [checkpoint_path(self.run_dir, trainer.global_step)]

    def _export(self, trainer: Trainer, pl_module: Any, request: Request) -> tuple[str, list[Path]]:
        """Writes the present embedding in a format."""
        name = request.format or FORMATS[0]
        if name not in FORMATS:
            raise UserError(f"export: unknown format {name}. Choose from {', '.join(FORMATS)}.")
        paths = _require(trainer, Export, "export").export_now(trainer, pl_module, name)
        return f"Exported the embedding of step {trainer.global_step} as {name}.", paths

    def _extend(self, trainer: Trainer, pl_module: Any, request: Request) -> tuple[str, list[Path]]:
        """Adds optimizer steps."""
        assert request.steps is not None
        if trainer.global_step >= trainer.max_steps or trainer.should_stop:
            command = continue_command(RunReader(self.run_dir), request.steps)
            raise UserError(f"The run has made its last step. To continue it:\n  {command}")
        changes = extend_run(trainer, pl_module, request.steps)
        self._added_steps += request.steps
        return f"The run now ends at step {trainer.max_steps}.{f' {changes}' if changes else ''}", []

    def _stop(self, trainer: Trainer, pl_module: Any, request: Request) -> tuple[str, list[Path]]:
        """Makes this step the last one."""
        if request.discard:
            self._is_discarded = True
            return "The run ends, and its checkpoints and its result are removed.", []
        if trainer.global_step < trainer.max_steps:
            trainer.should_stop = True
            self.run_card_entry = {"stopped_on_request": {"step": trainer.global_step}}
        return f"The run ends after step {trainer.global_step} of {trainer.max_steps}.", []

    def _end_discarded(self, trainer: Trainer) -> None:
        if self._is_discarded:
            raise RunDiscarded(f"discarded on request at step {trainer.global_step} of {trainer.max_steps}")

    def _finish(self, trainer: Trainer, refusal: str, stopped: str, result: str) -> None:
        """Answers what waits for the end of the run, and refuses new requests."""
        if self._inbox:
            for answer in self._stop_answers:
                self._inbox.write(replace(answer, state=stopped, message=f"{answer.message} {result}"))
            for answer in self._inbox.poll():
                self._inbox.write(replace(answer, state=REFUSED, message=refusal, step=trainer.global_step))


def _find(trainer: Any, kind: type[Any]) -> Any:
    return next((callback for callback in trainer.callbacks if isinstance(callback, kind)), None)


def _require(trainer: Trainer, kind: type[Any], name: str) -> Any:
    if (callback := _find(trainer, kind)) is None:
        raise UserError(f"This run was started without callbacks.{name}.")
    return callback
